.PHONY: setup train test test-all bench clean

setup:     ; @launch/setup.sh
train:     ; @launch/train.sh
test:      ; @launch/test.sh
test-all:  ; @launch/test.sh all
bench:     ; @launch/bench.sh
clean:     ; @launch/clean.sh
