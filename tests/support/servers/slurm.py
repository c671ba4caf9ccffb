"""Slurm: a real controller and two nodes of this machine, as whoever runs the tests.

Debian's slurm-wlm lets one host be several nodes, and needs no root as long as jobs run as the user
who started it. There is no database and no cgroup: what an ordinary user can have.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from tests.support.servers.ports import free_port
from tests.support.servers.process import missing, running

NODES = ("n1", "n2")


@dataclass(frozen=True, slots=True)
class SlurmCluster:
    """Its configuration; `SLURM_CONF` names it while the cluster runs."""

    conf: Path

    def ask(self, *words: str) -> str:
        """What one of Slurm's commands prints."""
        done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=20)
        return done.stdout

    def hasten(self, job: str) -> None:
        """Let a requeued job start in three seconds; Slurm waits two minutes, a constant.

        At once would be too soon: a node refuses a launch in the second in which it revoked the
        credential of the last, and the job has failed.
        """
        try:
            told = self.ask("scontrol", "show", "job", "-o", job)
        except subprocess.CalledProcessError:
            return  # no answer, as may be on a busy machine; whoever waits asks again
        fields = dict(word.split("=", 1) for word in told.split() if "=" in word)
        if fields["JobState"] != "PENDING" or fields["EligibleTime"] == "Unknown":
            return
        if datetime.fromisoformat(fields["EligibleTime"]) > datetime.now() + timedelta(seconds=10):
            self.ask("scontrol", "update", f"JobId={job}", "StartTime=now+3")


@contextmanager
def slurm() -> Iterator[SlurmCluster]:
    """A cluster of the nodes `n1` and `n2` in the partition `train`."""
    binaries = {name: _binary(name) for name in ("munged", "slurmctld", "slurmd")}
    # Not below pytest's folders: the path of a socket must be short.
    with tempfile.TemporaryDirectory(prefix="vila2-slurm-") as name, ExitStack() as stack:
        folder = Path(name)
        conf = folder / "slurm.conf"
        port = free_port(room=3)
        conf.write_text(_configuration(folder, port))
        munge = folder / "munge.socket"
        _key(folder / "munge.key")
        stack.enter_context(
            running(
                [
                    binaries["munged"], "--foreground", "--force", f"--socket={munge}",
                    f"--key-file={folder}/munge.key", f"--pid-file={folder}/munged.pid",
                    f"--log-file={folder}/munged.log", f"--seed-file={folder}/munged.seed",
                ],
                log=folder / "munged.out", ready=munge.exists,
            )
        )  # fmt: skip
        before = os.environ.get("SLURM_CONF")
        os.environ["SLURM_CONF"] = str(conf)
        cluster = SlurmCluster(conf)
        try:
            controller = [binaries["slurmctld"], "-D", "-c", "-f", str(conf)]
            stack.enter_context(
                running(controller, log=folder / "ctld.out", ready=lambda: _answers("scontrol"))
            )
            for node in NODES:
                (folder / node).mkdir()
                stack.enter_context(
                    running(
                        [binaries["slurmd"], "-D", "-f", str(conf), "-N", node],
                        log=folder / f"{node}.out",
                        ready=lambda node=node: _idle(node),  # type: ignore[misc]
                    )
                )
            yield cluster
        finally:
            subprocess.run(["scancel", "--me", "--signal=KILL", "--full"], check=False, timeout=20)
            subprocess.run(["scancel", "--me"], check=False, timeout=20)
            stack.close()
            os.environ.pop("SLURM_CONF")
            if before is not None:
                os.environ["SLURM_CONF"] = before


def _configuration(folder: Path, port: int) -> str:
    host, user = socket.gethostname().partition(".")[0], pwd.getpwuid(os.getuid()).pw_name
    nodes = "\n".join(
        f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port + 1 + n} "
        "CPUs=8 RealMemory=8000 State=UNKNOWN"
        for n, node in enumerate(NODES)
    )
    return f"""\
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}
SlurmdSpoolDir={folder}/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0,sched_interval=1,bf_interval=1
SlurmdParameters=config_overrides
DefMemPerCPU=100
KillWait=1
InactiveLimit=0
ReturnToService=2
PropagateResourceLimits=NONE
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
{nodes}
PartitionName=train Nodes={",".join(NODES)} Default=YES MaxTime=INFINITE State=UP
"""


def _binary(name: str) -> str:
    found = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if found is None:
        missing(name, "apt-get install slurm-wlm munge")
    return found


def _key(path: Path) -> None:
    path.write_bytes(secrets.token_bytes(1024))
    path.chmod(0o400)


def _answers(command: str) -> bool:
    done = subprocess.run([command, "ping"], capture_output=True, text=True, check=False, timeout=5)
    return "is UP" in done.stdout


def _idle(node: str) -> bool:
    told = subprocess.run(
        ["sinfo", "--noheader", f"--nodes={node}", "--format=%t"],
        capture_output=True, text=True, check=False, timeout=5,
    )  # fmt: skip
    return told.stdout.strip() == "idle"
