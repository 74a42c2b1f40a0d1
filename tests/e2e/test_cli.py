"""The command line: options, and that a bad start says in one line what is wrong, where, and what to do."""

import os
import pathlib
import re
import socket
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = pathlib.Path(os.environ.get("HOLDFAST_BIN") or ROOT / "build" / "holdfast").resolve()
SAMPLE = ROOT / "deploy" / "holdfast.conf"
LEAST = """[proxy]
domain = example.org
upstream = 127.0.0.1:5222
[tls]
required = no
[listen]
starttls = 127.0.0.1:0
stats = none
"""
SECONDS = 30


def holdfast(*arguments, **environment):
    """Runs to its end: a CompletedProcess with texts."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("HOLDFAST_")}
    return subprocess.run([BINARY, *map(str, arguments)], capture_output=True, text=True, timeout=SECONDS,
                          env=clean | environment, stdin=subprocess.DEVNULL)


@pytest.fixture
def conf(tmp_path):
    """conf(text) writes a configuration and returns its path."""
    path = tmp_path / "holdfast.conf"

    def write(text):
        path.write_text(text)
        return path

    return write


def make_pair(directory, name):
    certificate, key = directory / f"{name}.pem", directory / f"{name}.key"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days",
                    "2", "-subj", f"/CN={name}", "-keyout", key, "-out", certificate], check=True, capture_output=True)
    return certificate, key


def assert_refused(run, *lines):
    """Status 1, nothing on stdout, exactly these lines on stderr."""
    assert run.returncode == 1, run.stderr
    assert run.stdout == ""
    assert run.stderr.splitlines() == list(lines)


# --- options that only print


def test_version_is_one_line():
    run = holdfast("-V")
    assert (run.returncode, run.stderr) == (0, "")
    assert re.fullmatch(r"holdfast \d+\.\d+\.\d+\n", run.stdout)


def test_vv_names_every_library():
    run = holdfast("-vv")
    assert run.returncode == 0
    names = [line.split(":")[0] for line in run.stdout.splitlines()]
    assert names[0] + "\n" == holdfast("-V").stdout
    assert names[1:] == ["compiler", "openssl", "expat", "libev", "c-ares", "hiredis", "libmicrohttpd", "wslay", "systemd"]
    assert re.search(r"^expat: .*reparse deferral control (present|absent)$", run.stdout, re.M)
    assert re.search(r"^libev: .*poller \w+$", run.stdout, re.M)


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help_names_the_options(option):
    run = holdfast(option)
    assert run.returncode == 0
    for word in ("-c FILE", "-o section.key=value", "-t", "-T", "-V", "--help-config", "--describe-metrics"):
        assert word in run.stdout


def test_help_config_lists_keys():
    run = holdfast("--help-config")
    assert run.returncode == 0
    assert re.search(r"^sm\.max = duration, default 10m, reloadable$", run.stdout, re.M)


def test_describe_metrics_lists_metrics():
    run = holdfast("--describe-metrics")
    assert run.returncode == 0
    lines = run.stdout.splitlines()
    assert len(lines) > 30
    assert all(line.startswith(("holdfast_", "process_")) for line in lines)
    assert any(line.startswith("holdfast_stanzas_total") and "counter" in line for line in lines)


@pytest.mark.parametrize("arguments", [["-x"], ["--nonsense"], ["extra"], ["-c"], ["-t", "extra"]])
def test_bad_usage(arguments):
    run = holdfast(*arguments)
    assert run.returncode == 1
    assert run.stdout == ""
    assert "usage: holdfast" in run.stderr


# --- the configuration


def test_check_of_a_good_file(conf):
    run = holdfast("-t", "-c", conf(LEAST))
    assert (run.returncode, run.stdout, run.stderr) == (0, "the configuration is valid\n", "")


def test_sample_needs_a_certificate_and_nothing_else(tmp_path):
    assert_refused(holdfast("-t", "-c", SAMPLE),
                   f"{SAMPLE}: tls.required: listen.starttls needs a certificate; set tls.certificate and tls.key, or "
                   "tls.required = no to let clients in without TLS")
    certificate, key = make_pair(tmp_path, "example.org")
    run = holdfast("-t", "-c", SAMPLE, "-o", f"tls.certificate={certificate}", "-o", f"tls.key={key}")
    assert (run.returncode, run.stderr) == (0, "")


def test_effective_configuration_names_origins(conf):
    path = conf(LEAST)
    run = holdfast("-T", "-c", path, "-o", "sm.max=1m", HOLDFAST_LOG_LEVEL="debug")
    assert run.returncode == 0
    lines = run.stdout.splitlines()
    assert f"proxy.domain = example.org  # {path}:2" in lines
    assert "sm.max = 1m  # option -o" in lines
    assert "log.level = debug  # environment HOLDFAST_LOG_LEVEL" in lines
    assert "sm.max_cap = 1h  # default" in lines


@pytest.mark.parametrize("check", [["-t"], ["-T"], []])
def test_all_mistakes_come_in_one_run(conf, check):
    path = conf(LEAST + "[sm]\nmax = soon\nqueue_byte = 1m\n[limit]\n[sm]\nupstream = x\n")
    assert_refused(holdfast(*check, "-c", path),
                   f'{path}:10: sm.max: "soon" is not a duration; write a number and a unit, e.g. 500ms, 30s, 10m, 12h '
                   "or 7d",
                   f"{path}:11: sm.queue_byte: unknown key; did you mean sm.queue_bytes?",
                   f"{path}:12: [limit]: unknown section; did you mean [limits]?",
                   f"{path}:14: sm.upstream: is not built yet; remove it")


def test_missing_file(tmp_path):
    run = holdfast("-c", tmp_path / "none.conf")
    assert run.returncode == 1
    assert run.stderr.splitlines()[0] == (f"{tmp_path}/none.conf: cannot read the configuration: No such file or "
                                          "directory; name a readable file with -c")


def test_nothing_configured():
    run = holdfast()
    assert run.returncode == 1
    for key in ("proxy.domain", "proxy.upstream", "listen.starttls"):
        assert f"configuration: {key}: " in run.stderr


def test_missing_certificate(conf, tmp_path):
    path = conf(LEAST + f"[tls]\ncertificate = {tmp_path}/none.pem\n")
    assert_refused(holdfast("-c", path),
                   f"{path}:10: tls.certificate: cannot read {tmp_path}/none.pem: No such file or directory; name a "
                   "file that this user may read")


def test_key_of_another_certificate(conf, tmp_path):
    certificate, _ = make_pair(tmp_path, "one")
    _, key = make_pair(tmp_path, "two")
    path = conf(LEAST + f"[tls]\ncertificate = {certificate}\nkey = {key}\n")
    for arguments in (["-t", "-c", path], ["-c", path]):
        run = holdfast(*arguments)
        assert run.returncode == 1
        line, = run.stderr.splitlines()
        assert line.startswith(f"{path}:10: tls.certificate: ")
        assert line.endswith("; name PEM files, each key with its certificate, in tls.certificate and tls.key")


def test_certificate_that_is_none(conf, tmp_path):
    path = conf(LEAST + f"[tls]\ncertificate = {SAMPLE}\n")
    run = holdfast("-t", "-c", path)
    assert run.returncode == 1
    line, = run.stderr.splitlines()
    assert line.startswith(f"{path}:10: tls.certificate: ") and str(SAMPLE) in line


@pytest.mark.parametrize("key, line", [("starttls", 7), ("stats", 8)])
def test_port_in_use(conf, key, line):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        old = {"starttls": "starttls = 127.0.0.1:0", "stats": "stats = none"}[key]
        path = conf(LEAST.replace(old, f"{key} = {address}"))
        run = holdfast("-c", path)
    assert run.returncode == 1
    told = [text for text in run.stderr.splitlines() if address in text]
    assert told, run.stderr
    assert "in use" in told[0] and f"{path}:{line}" in told[0] and f"listen.{key}" in told[0]
    assert "another port" in told[0]


def test_unknown_variable_is_no_obstacle(conf):
    run = holdfast("-t", "-c", conf(LEAST), HOLDFAST_TLS_SERVICE_HOST="10.0.0.1", HOLDFAST_PORT="tcp://10.0.0.1:5222")
    assert run.returncode == 0
    assert run.stderr.splitlines() == ["environment HOLDFAST_TLS_SERVICE_HOST: tls.service_host: unknown key; see "
                                       "holdfast --help-config for the keys (warning)"]
