"""What the configuration points at: model, databases, Kafka, a running service."""

import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx

from thumbwheel.demo_policy import default_model
from thumbwheel.doctor.configuration import Configuration
from thumbwheel.doctor.finding import Finding, fail, ok, warn
from thumbwheel.errors import ThumbwheelError

MODEL_SECONDS = 120
_LOAD_MODEL = """\
import json, sys
from transformers import AutoConfig, AutoTokenizer
try:
    config = AutoConfig.from_pretrained(sys.argv[1], trust_remote_code=False)
    tokenizer = AutoTokenizer.from_pretrained(sys.argv[1], trust_remote_code=False)
except Exception as error:
    sys.exit(str(error).strip().splitlines()[0])
said = {"kind": (config.architectures or [config.model_type])[0], "tokens": len(tokenizer),
        "template": bool(tokenizer.chat_template)}
print("\\n" + json.dumps(said))
"""


def check_reach(configuration: Configuration) -> Iterator[Finding]:
    """Everything outside this environment that the configuration names."""
    yield check_model(configuration.model)
    for half, url in configuration.databases.items():
        yield check_database(half, url)
    if configuration.kafka:
        yield check_kafka(configuration.kafka, configuration.kafka_options)
    if configuration.url:
        yield check_service(configuration.url)


def check_model(model: str | None) -> Finding:
    """Its configuration and tokenizer load; the weights are left alone, for they may be large."""
    if model is None:
        model = default_model()
        if model is None:
            return warn("model", "none named, and the demo policy is not installed", "MODEL= a local path or a hub id")
        if not (Path(model) / "config.json").is_file():
            return fail("model", f"the demo policy is not in {model}", "install again, or MODEL= another one")
        return ok("model", "none named: the demo policy")
    if looks_local(model) and not (Path(model).expanduser() / "config.json").is_file():
        return fail(
            "model", f"{model} holds no config.json", "MODEL= the folder of a transformers checkpoint, or a hub id"
        )
    if find_spec("transformers") is None:
        return warn("model", f"{model}: cannot be tried without transformers", "pip install 'thumbwheel[learner]'")
    return load_model(model)


def looks_local(model: str) -> bool:
    """A path, as vLLM and transformers would take it: one that exists, or that no hub id can be."""
    return model.startswith((".", "/", "~")) or model.count("/") > 1 or Path(model).exists()


def load_model(model: str) -> Finding:
    """In a process of its own, so that the doctor stays light whatever the model's libraries do."""
    command = [sys.executable, "-c", _LOAD_MODEL, str(Path(model).expanduser()) if looks_local(model) else model]
    try:
        told = subprocess.run(command, check=False, capture_output=True, text=True, timeout=MODEL_SECONDS)
    except subprocess.TimeoutExpired:
        return fail("model", f"{model} did not load in {MODEL_SECONDS} s", "use a local path, or look at the network")
    if told.returncode != 0:
        reason = (told.stderr.strip().splitlines() or ["no reason given"])[-1]
        return fail(
            "model", f"{model} does not load: {reason}", "MODEL= a causal language model that transformers loads"
        )
    said: dict[str, Any] = json.loads(told.stdout.strip().splitlines()[-1])
    found = f"{model}: {said['kind']}, {said['tokens']} tokens"
    if not said["template"]:
        return ok("model", f"{found}, no chat template (a plain one is used)")
    return ok("model", found)


def check_database(half: str, url: str) -> Finding:
    """It answers, and commits are durable."""
    name = f"{half} database"
    if url.startswith("sqlite:///"):
        return check_sqlite(name, Path(url.removeprefix("sqlite:///")))
    if url.startswith(("postgresql://", "postgresql+psycopg://")):
        return check_postgres(name, url.replace("postgresql+psycopg://", "postgresql://", 1))
    return fail(name, "neither SQLite nor PostgreSQL", "a URL like sqlite:///file.db or postgresql://user@host/name")


def check_sqlite(name: str, file: Path) -> Finding:
    """The file opens as a database; one that is not there yet is made at the first start."""
    if not file.exists():
        return ok(name, f"{file} will be made at the first start")
    try:
        with sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=2) as connection:
            connection.execute("PRAGMA schema_version").fetchone()
        connection.close()
    except sqlite3.Error as error:
        return fail(name, f"{file}: {error}", "restore it, or move it away to begin anew")
    return ok(name, str(file))


def check_postgres(name: str, url: str) -> Finding:
    """A connection within three seconds, and its server keeps what it acknowledges."""
    if find_spec("psycopg") is None:
        return fail(name, "PostgreSQL, and its driver is not installed", "pip install 'psycopg[binary]'")
    import psycopg

    try:
        with psycopg.connect(url, connect_timeout=3) as connection:
            row = connection.execute("SELECT version(), current_setting('fsync')").fetchone()
    except psycopg.Error as error:
        reason = str(error).strip().splitlines()[0]
        return fail(name, f"no connection: {reason}", "is the server up, and are user, password and name right?")
    version, fsync = row or ("unknown", "on")
    if fsync != "on":
        return fail(
            name, f"{version[:40]}, fsync = {fsync}", "turn fsync on: without it an acknowledgement means little"
        )
    return ok(name, " ".join(version.split()[:2]))


def check_kafka(bootstrap: str, options: Mapping[str, str]) -> Finding:
    """A broker answers with the cluster's members, under the configured security settings."""
    if find_spec("kafka") is None:
        return fail("kafka", "configured, and its driver is not installed", "pip install 'thumbwheel[kafka]'")
    from thumbwheel.bus.kafka_driver import Driver

    try:
        admin = Driver(bootstrap, "thumbwheel-doctor", options).admin()
        try:
            brokers = len(admin.describe_cluster()["brokers"])
        finally:
            admin.close()
    except ThumbwheelError as error:
        return fail("kafka", str(error), "is a broker up there, and are the KAFKA_ settings right?")
    if brokers < 3:
        return warn("kafka", f"{bootstrap}: {brokers} broker(s)", "three keep what was acknowledged when one is lost")
    return ok("kafka", f"{bootstrap}: {brokers} brokers")


def check_service(url: str) -> Finding:
    """The service named by `THUMBWHEEL_URL` says that it is ready."""
    try:
        answer = httpx.get(url.rstrip("/") + "/readyz", timeout=5, trust_env=False)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return fail("service", f"{url}: {error}", "start it with `thumbwheel up`, or mend THUMBWHEEL_URL")
    if answer.status_code == 200:
        return ok("service", f"{url} is ready")
    return warn(
        "service", f"{url} answers {answer.status_code} to /readyz", answer.text[:200] or "wait, or read its log"
    )
