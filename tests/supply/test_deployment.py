"""SUP-03, as far as files say it: the image, compose and Kubernetes. No container runtime is needed."""

from __future__ import annotations

import json
import re
import shlex

import pytest
import yaml

from gateway.settings import Settings, read_settings
from tests.supply.requirements import ROOT


def instructions(text: str) -> list[tuple[str, str]]:
    """Of a Dockerfile: the word and the rest, with continued lines joined and comments left out."""
    lines = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    joined = re.sub(r"\\\n", " ", lines)
    return [
        (line.split(None, 1)[0].upper(), line.split(None, 1)[1].strip()) for line in joined.splitlines() if line.strip()
    ]


DOCKERFILE = instructions((ROOT / "Dockerfile").read_text())
_LAST = max(index for index, (word, _) in enumerate(DOCKERFILE) if word == "FROM")
BUILD, FINAL = DOCKERFILE[:_LAST], DOCKERFILE[_LAST:]
COMPOSE = yaml.safe_load((ROOT / "deploy/compose.yaml").read_text())
SERVICE = COMPOSE["services"]["gateway"]
KUBERNETES = {
    document["kind"]: document for document in yaml.safe_load_all((ROOT / "deploy/kubernetes/gateway.yaml").read_text())
}
POD = KUBERNETES["Deployment"]["spec"]["template"]["spec"]
CONTAINER = POD["containers"][0]
DRAIN_S = Settings().drain_delay_s + Settings().grace_s


def final(word: str) -> list[str]:
    return [rest for name, rest in FINAL if name == word]


def image_env() -> dict[str, str]:
    return dict(pair.split("=", 1) for rest in final("ENV") for pair in shlex.split(rest))


def test_the_image_runs_as_a_numeric_user_that_is_not_root():
    """SUP-03: numeric, so that runAsNonRoot can be checked without the image's user list."""
    assert final("USER") == ["10001:10001"]
    after = [word for word, _ in FINAL[[word for word, _ in FINAL].index("USER") :]]
    assert not {"RUN", "COPY", "ADD"} & set(after)


def test_the_image_starts_and_stops_without_a_shell():
    """SUP-03: exec form, so that signals reach the gateway and no shell is needed."""
    assert json.loads(final("ENTRYPOINT")[0]) == ["gateway"]
    assert json.loads(final("CMD")[0]) == ["serve"]
    assert final("STOPSIGNAL") == ["SIGTERM"]
    (check,) = final("HEALTHCHECK")
    assert json.loads(check.split("CMD ", 1)[1]) == ["gateway", "healthcheck"]


def test_the_image_carries_what_was_built_and_no_tools():
    """SUP-03"""
    assert final("RUN") == []
    assert final("ADD") == []
    assert all("policies" in rest or rest.startswith("--from=build") for rest in final("COPY"))
    everything = " ".join(rest for word, rest in DOCKERFILE if word == "RUN")
    assert not re.search(r"apt|apk|gcc|build-essential|curl|wget|git\b", everything)


def test_the_image_is_built_from_the_hash_locked_requirements():
    """SUP-01"""
    installs = [json.loads(rest) for word, rest in BUILD if word == "RUN" and '"install"' in rest]
    locked, project = installs
    assert {"--require-hashes", "-r", "requirements/run.txt"} <= set(locked)
    assert {"--no-deps", "--no-build-isolation", "."} <= set(project)


def test_the_images_environment_is_settings_that_exist_and_no_secret():
    """SUP-03"""
    env = image_env()
    settings = read_settings(env)
    assert (settings.host, settings.port) == ("0.0.0.0", 8080)
    assert env["PYTHONDONTWRITEBYTECODE"] == "1"
    assert final("VOLUME") == [json.dumps([str(settings.data_dir)])]
    assert final("EXPOSE") == ["8080"]
    assert [name for name in env if re.search("KEY|TOKEN|SECRET|PASSWORD", name)] == []
    assert final("ARG") == ["VERSION=0.1.0", "REVISION=unknown"]


def test_the_images_labels_say_what_it_is():
    """SUP-03"""
    labels = dict(pair.split("=", 1) for rest in final("LABEL") for pair in shlex.split(rest))
    wanted = ("title", "description", "licenses", "version", "revision")
    assert labels.keys() == {f"org.opencontainers.image.{name}" for name in wanted}


def test_the_build_sees_only_what_it_needs():
    """SUP-09: everything is kept out and what is needed let in, so a new file never gets into the image by itself."""
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*"
    admitted = {line[1:] for line in lines if line.startswith("!")}
    assert admitted == {"requirements", "gateway", "policies", "pyproject.toml", "README.md", "LICENSE"}
    copied = {
        path for word, rest in DOCKERFILE if word == "COPY" and "--from" not in rest for path in rest.split()[:-1]
    }
    assert {path.split("/")[0] for path in copied} == admitted
    assert {"**/.git", "**/.venv*", "**/tests", "**/bench", "**/data", "**/.env", "**/*.key", "**/*.pem"} <= set(lines)
    assert lines.index("policies/*.local.yaml") > lines.index("!policies")


def test_compose_takes_every_privilege_away():
    """SUP-03"""
    assert SERVICE["read_only"] is True
    assert SERVICE["cap_drop"] == ["ALL"]
    assert "cap_add" not in SERVICE
    assert "privileged" not in SERVICE
    assert SERVICE["security_opt"] == ["no-new-privileges:true"]
    assert SERVICE["user"] == final("USER")[0]
    assert [mount.split(":")[0] for mount in SERVICE["tmpfs"]] == ["/tmp"]


def test_compose_mounts_data_to_write_and_policies_to_read():
    """SUP-03"""
    data, policies = SERVICE["volumes"]
    assert data == "data:" + image_env()["GATEWAY_DATA_DIR"]
    assert "data" in COMPOSE["volumes"]
    assert (policies["target"], policies["read_only"]) == (image_env()["GATEWAY_POLICIES"], True)
    assert (ROOT / "deploy" / policies["source"]).resolve() == ROOT / "policies"


def test_compose_names_secrets_and_never_holds_them():
    """SUP-09: a variable without a value is passed on from where compose runs."""
    env = SERVICE["environment"]
    named = {"GATEWAY_ADMIN_TOKEN", "GATEWAY_LEDGER", "GATEWAY_STORE", "OPENAI_API_KEY"}
    assert {name for name, value in env.items() if value is None} == named
    given = {name: value for name, value in env.items() if value is not None}
    assert given == {"GATEWAY_ADMIN_HOST": "0.0.0.0"}
    read_settings({**image_env(), **given})


def test_compose_publishes_the_admin_port_on_loopback_only():
    """SUP-03"""
    assert SERVICE["ports"] == [f"{Settings().port}:8080", f"127.0.0.1:{Settings().admin_port}:8081"]
    assert SERVICE["healthcheck"]["test"] == ["CMD", "gateway", "healthcheck"]


def test_both_wait_longer_for_the_end_than_the_gateway_drains():
    """SUP-03"""
    assert int(SERVICE["stop_grace_period"].removesuffix("s")) > DRAIN_S + 5
    assert POD["terminationGracePeriodSeconds"] > DRAIN_S + 5
    assert "lifecycle" not in CONTAINER


def test_kubernetes_takes_every_privilege_away():
    """SUP-03"""
    assert POD["securityContext"]["runAsNonRoot"] is True
    assert f"{POD['securityContext']['runAsUser']}:{POD['securityContext']['runAsGroup']}" == final("USER")[0]
    assert POD["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert POD["automountServiceAccountToken"] is False
    assert CONTAINER["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "privileged": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_kubernetes_mounts_policies_as_a_folder_so_that_changes_arrive():
    """SUP-03"""
    mounts = {mount["name"]: mount for mount in CONTAINER["volumeMounts"]}
    assert mounts["policies"] == {"name": "policies", "mountPath": image_env()["GATEWAY_POLICIES"], "readOnly": True}
    assert mounts["data"]["mountPath"] == image_env()["GATEWAY_DATA_DIR"]
    sources = {volume["name"]: volume for volume in POD["volumes"]}
    assert sources["policies"]["configMap"]["name"] == KUBERNETES["ConfigMap"]["metadata"]["name"]


def test_kubernetes_probes_paths_that_need_no_token():
    """SUP-03"""
    paths = {probe: CONTAINER[probe]["httpGet"] for probe in ("startupProbe", "readinessProbe", "livenessProbe")}
    assert {get["port"] for get in paths.values()} == {"admin"}
    assert paths["readinessProbe"]["path"] == "/readyz"
    assert paths["livenessProbe"]["path"] == "/healthz"
    assert {port["name"]: port["containerPort"] for port in CONTAINER["ports"]} == {"http": 8080, "admin": 8081}


def test_kubernetes_secrets_are_references():
    """SUP-09"""
    assert "Secret" not in KUBERNETES
    literal = {entry["name"]: entry["value"] for entry in CONTAINER["env"] if "value" in entry}
    assert literal == {"GATEWAY_ADMIN_HOST": "0.0.0.0"}
    assert all("secretKeyRef" in entry["valueFrom"] for entry in CONTAINER["env"] if "value" not in entry)


def test_kubernetes_adds_no_variables_that_the_gateway_would_refuse():
    """SUP-03: the variables of a Service called "gateway" look like settings."""
    assert POD["enableServiceLinks"] is False
    assert not KUBERNETES["Service"]["metadata"]["name"].replace("-", "_").upper().startswith("GATEWAY_")


def test_kubernetes_objects_belong_together():
    """SUP-03"""
    labels = KUBERNETES["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert KUBERNETES["Deployment"]["spec"]["selector"]["matchLabels"] == labels
    assert KUBERNETES["Service"]["spec"]["selector"] == labels
    assert KUBERNETES["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    assert KUBERNETES["Deployment"]["spec"]["replicas"] > KUBERNETES["PodDisruptionBudget"]["spec"]["maxUnavailable"]


def test_the_policies_of_the_config_map_are_sound(tmp_path):
    """SUP-03"""
    from gateway.policy.load import load, read_source

    for name, text in KUBERNETES["ConfigMap"]["data"].items():
        (tmp_path / name).write_text(text)
    policy = load(read_source(tmp_path), tmp_path, {"OPENAI_API_KEY": "x"})
    assert policy.providers.keys() == {"demo", "openai"}


@pytest.mark.parametrize(
    "image",
    [*(rest for word, rest in DOCKERFILE if word in {"FROM", "ARG"}), SERVICE["image"], CONTAINER["image"]],
)
def test_no_image_names_a_registry(image):
    """SUP-01: where images come from is for whoever builds and deploys to say."""
    assert "/" not in image


def test_the_image_names_no_place_to_install_from():
    """SUP-01"""
    assert not any("://" in rest or "index-url" in rest for _, rest in DOCKERFILE)
