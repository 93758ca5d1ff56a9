.PHONY: setup train test test-all fuzz bench gpu-check clean

setup:     ; @launch/setup.sh
train:     ; @launch/train.sh
test:      ; @launch/test.sh
test-all:  ; @launch/test.sh all
fuzz:      ; @launch/fuzz.sh
bench:     ; @launch/bench.sh
gpu-check: ; @launch/bench.sh gpu_check
clean:     ; @launch/clean.sh
