"""Checks the files of deploy/ and compose.yaml against the code: variables, ports, probe paths, labels, time to stop."""

import re
import sys
from ipaddress import ip_address, ip_network
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
KUBERNETES = ROOT / "deploy/kubernetes"
APP = "hubspot-connect"
wrong = []


def expect(holds, message):
    if not holds:
        wrong.append(message)


def text(path):
    return (ROOT / path).read_text()


def found(pattern, path):
    """Returns what the groups of a pattern match in a file, which must contain it."""
    matches = re.findall(pattern, text(path), re.MULTILINE)
    if not matches:
        sys.exit(f"{path} no longer contains {pattern}")
    return matches


def settings(path):
    return dict(found(r"^([A-Z_]+)=(.*)$", path))


def seconds(duration):
    return int(duration.removesuffix("s"))


def documents(path):
    return list(yaml.safe_load_all(text(path)))


VARIABLES = set(found(r"^#?([A-Z_]+)=", ".env.example"))
VARIABLES |= {f"{name}_FILE" for name in found(r"^    SECRET ([A-Z_]+)", "src/config/variables.rs")}
PUBLIC_PORT = int(found(r"ENV PORT=(\d+)", "Dockerfile")[0])
PROBES = {
    "http": set(found(r'at\("(/\w+z)"', "src/http/mod.rs")),
    "admin": set(found(r'at\("(/\w+z)"', "src/http/admin.rs")),
}
# The time from the signal to the end of the process, in seconds.
STOP = int(found(r"Give it (\d+) seconds", "docs/operating.md")[0])


def check_names(names, path):
    for name in names:
        expect(name in VARIABLES, f"{path}: {name} is not a variable of .env.example")


def check_systemd():
    path = f"deploy/systemd/{APP}.service"
    unit = text(path)
    check_names(re.findall(r"^Environment=(\w+)=", unit, re.MULTILINE), path)
    loaded = set(re.findall(r"^LoadCredential=(\w+):", unit, re.MULTILINE))
    used = set(re.findall(r"^Environment=\w+_FILE=%d/(\w+)$", unit, re.MULTILINE))
    expect(loaded and loaded == used, f"{path}: loads {loaded}, and uses {used}")
    command = f"deploy/systemd/{APP}-command"
    passed = set(found(r"^for secret in (.*);", command)[0].split())
    expect(passed == loaded, f"{command}: passes {passed}, the unit loads {loaded}")
    expect(seconds(found(r"^TimeoutStopSec=(\d+)$", path)[0]) >= STOP, f"{path}: TimeoutStopSec < {STOP}")


def check_compose():
    base, path = yaml.safe_load(text("compose.yaml")), "deploy/caddy/compose.yaml"
    caddy = yaml.safe_load(text(path))
    for file, compose in [("compose.yaml", base), (path, caddy)]:
        check_names(compose["services"][APP]["environment"], file)
    service = base["services"][APP]
    expect(seconds(service["stop_grace_period"]) >= STOP, f"compose.yaml: stop_grace_period < {STOP}s")
    listens = service["environment"]["SERVER_ADDR"].rpartition(":")[2]
    proxied = found(rf"reverse_proxy {APP}:(\d+)", "deploy/caddy/Caddyfile")
    expect(proxied == [listens], f"deploy/caddy/Caddyfile: the service listens on {listens}")

    behind, proxy = caddy["services"][APP], caddy["services"]["caddy"]
    (network, place), = proxy["networks"].items()
    address = place["ipv4_address"]
    expect(behind["environment"]["TRUSTED_PROXIES"] == address, f"{path}: TRUSTED_PROXIES is not {address}")
    expect(network in behind["networks"], f"{path}: {APP} is not in the network {network}")
    pool = caddy["networks"][network]["ipam"]["config"][0]
    expect(ip_address(address) in ip_network(pool["subnet"]), f"{path}: {address} is not in {pool['subnet']}")
    # The service starts before Caddy, and would get the first free address.
    expect(ip_address(address) not in ip_network(pool["ip_range"]), f"{path}: Docker may give {address} away")
    keeps = int(found(r"KEEP_ALIVE_SECONDS=(\d+)", ".env.example")[0])
    idle = seconds(found(r"^\s*keepalive (\d+s)$", "deploy/caddy/Caddyfile")[0])
    expect(idle < keeps, f"deploy/caddy/Caddyfile: keepalive is not below {keeps}s")


def check_kubernetes():
    folder = "deploy/kubernetes"
    kustomization = yaml.safe_load(text(f"{folder}/kustomization.yaml"))
    files = {file.name for file in KUBERNETES.glob("*.yaml")} - {"kustomization.yaml", "secret.example.yaml"}
    expect(set(kustomization["resources"]) == files, f"{folder}/kustomization.yaml does not list {files}")
    kinds = {one["kind"]: one for file in files for one in documents(f"{folder}/{file}")}
    serve, job = kinds["Deployment"]["spec"]["template"], kinds["Job"]["spec"]["template"]

    config, secret = settings(f"{folder}/settings.env"), documents(f"{folder}/secret.example.yaml")[0]
    given = set(config) | set(secret["stringData"])
    check_names(given, folder)
    for name in found(r"^# Required.*\n([A-Z_]+)=", ".env.example"):
        expect(name in given, f"{folder}: {name} is required")
    references = {"configMapRef": kustomization["configMapGenerator"][0]["name"], "secretRef": secret["metadata"]["name"]}
    for pod in (serve, job):
        sources = {kind: one["name"] for source in container(pod)["envFrom"] for kind, one in source.items()}
        expect(sources == references, f"{folder}: envFrom is {sources}, not {references}")
    expect(container(job)["args"] == ["db", "migrate"], f"{folder}: the job does not migrate")

    ports = {port["name"]: port["containerPort"] for port in container(serve)["ports"]}
    admin = int(config["ADMIN_ADDR"].rpartition(":")[2])
    expect(ports == {"http": PUBLIC_PORT, "admin": admin}, f"{folder}: the container has the ports {ports}")
    for kind in ("readinessProbe", "livenessProbe"):
        probe = container(serve)[kind]["httpGet"]
        expect(probe["path"] in PROBES[probe["port"]], f"{folder}: {kind} asks for {probe}")
    service = kinds["Service"]["spec"]["ports"]
    expect([port["targetPort"] for port in service] == ["http"], f"{folder}: the Service leads to {service}")
    ingress = kinds["NetworkPolicy"]["spec"]["ingress"]
    open_ports = {port["port"] for rule in ingress for port in rule["ports"]}
    expect(open_ports == set(ports), f"{folder}: the NetworkPolicy opens {open_ports}")

    pause = container(serve)["lifecycle"]["preStop"]["sleep"]["seconds"]
    grace = serve["spec"]["terminationGracePeriodSeconds"]
    expect(grace >= pause + STOP, f"{folder}: terminationGracePeriodSeconds < {pause + STOP}")

    labels = serve["metadata"]["labels"]
    selectors = {
        "Deployment": kinds["Deployment"]["spec"]["selector"]["matchLabels"],
        "PodDisruptionBudget": kinds["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        "Service": kinds["Service"]["spec"]["selector"],
    }
    for kind, selector in selectors.items():
        expect(selector == labels, f"{folder}: the {kind} selects {selector}, not {labels}")
        expect(selector != job["metadata"]["labels"], f"{folder}: the {kind} selects the job")
    limited = kinds["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"].items()
    for pod in (serve, job):
        expect(limited <= pod["metadata"]["labels"].items(), f"{folder}: the NetworkPolicy misses pods")
    scaled = kinds["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]
    target = (kinds["Deployment"]["kind"], kinds["Deployment"]["metadata"]["name"])
    expect((scaled["kind"], scaled["name"]) == target, f"{folder}: the autoscaler scales {scaled}")
    expect("replicas" not in kinds["Deployment"]["spec"], f"{folder}: replicas would undo the autoscaler")


def container(pod):
    return pod["spec"]["containers"][0]


check_systemd()
check_compose()
check_kubernetes()
sys.exit("\n".join(wrong) or None)
