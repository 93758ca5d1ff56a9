"""The Kubernetes recipes fit Kubernetes' own schema, and say what they mean.

The schema of an MPIJob itself comes with the MPI Operator, in no package; its pods are checked by Kubernetes' schema.
"""

from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from distgan.replicas import cluster

LAUNCH = Path(__file__).parent.parent / "launch"
VERSION = "1.30"


def _documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((LAUNCH / name).read_text()))


def _replicas() -> dict[str, Any]:
    return next(one for one in _documents("mpijob.yaml") if one["kind"] == "MPIJob")["spec"]["mpiReplicaSpecs"]


@pytest.mark.parametrize("name", ["mpijob.yaml", "k8s-multiworker.yaml", "k8s-volume.yaml"])
def test_the_recipes_fit_the_schema(name: str) -> None:
    for document in _documents(name):
        if document["kind"] == "MPIJob":
            for replica in document["spec"]["mpiReplicaSpecs"].values():
                pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, **replica["template"]}
                kubernetes_validate.validate(pod, VERSION, strict=True)
        else:
            kubernetes_validate.validate(document, VERSION, strict=True)


def test_the_elastic_overlay_has_a_launcher_that_fits_the_schema_and_horovodrun() -> None:
    (overlay,) = _documents("elastic/kustomization.yaml")
    assert (LAUNCH / "elastic" / overlay["resources"][0] / "kustomization.yaml").exists()
    (change,) = yaml.safe_load(overlay["patches"][0]["patch"])
    pod = _replicas()["Launcher"]["template"]["spec"]
    assert change["path"] == "/spec/mpiReplicaSpecs/Launcher/template/spec/containers/0/command"
    pod["containers"][0]["command"] = change["value"]
    document = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, "spec": pod}
    kubernetes_validate.validate(document, VERSION, strict=True)
    launch = pytest.importorskip("horovod.runner.launch", reason="Horovod is not installed here")
    arguments = change["value"][1:]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["horovodrun", *arguments])
        given = launch.parse_args()
    assert given.command == ["python", "-m", "distgan.train"]
    assert (given.min_num_proc, given.num_proc, given.max_num_proc, given.slots) == (1, 2, 8, 2)


def test_the_recipes_keep_their_runs_in_the_volume() -> None:
    (volume,) = _documents("k8s-volume.yaml")
    for name in ("mpijob.yaml", "k8s-multiworker.yaml"):
        assert f"claimName: {volume['metadata']['name']}" in (LAUNCH / name).read_text()
        assert volume["kind"] not in {document["kind"] for document in _documents(name)}


def test_the_schema_refuses_what_is_no_field() -> None:
    service = next(one for one in _documents("k8s-multiworker.yaml") if one["kind"] == "Service")
    service["spec"]["clusterIp"] = "None"
    with pytest.raises(kubernetes_validate.ValidationError, match="clusterIp"):
        kubernetes_validate.validate(service, VERSION, strict=True)


def test_mpirun_starts_as_many_ranks_as_there_are_slots() -> None:
    (job,) = (one for one in _documents("mpijob.yaml") if one["kind"] == "MPIJob")
    command = _replicas()["Launcher"]["template"]["spec"]["containers"][0]["command"]
    assert int(command[command.index("-np") + 1]) == job["spec"]["slotsPerWorker"] * _replicas()["Worker"]["replicas"]


def test_each_worker_of_the_job_knows_its_place_and_where_rank_0_is() -> None:
    (job,) = (one for one in _documents("k8s-multiworker.yaml") if one["kind"] == "Job")
    (service,) = (one for one in _documents("k8s-multiworker.yaml") if one["kind"] == "Service")
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    given = {variable["name"]: variable["value"] for variable in container["env"]}
    assert int(given["WORLD_SIZE"]) == job["spec"]["completions"] == job["spec"]["parallelism"]
    assert pod["subdomain"] == service["metadata"]["name"]
    for index in range(job["spec"]["completions"]):
        launch = cluster._Launch.of(given | {"JOB_COMPLETION_INDEX": str(index)})
        assert (launch.rank, launch.size) == (index, job["spec"]["completions"])
        assert launch.host == f"{job['metadata']['name']}-0.{pod['subdomain']}"
    assert container["command"] == ["python", "-m", "distgan.train"]
