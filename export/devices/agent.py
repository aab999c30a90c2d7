"""What runs on a device: receives files, starts jobs that outlive the connection, tells of them, hands results over.

Python 3.8 and newer, standard library only. It is sent through ssh with each request and leaves nothing behind but
what it is asked to keep, under `~/.cache/secateur`: `store/` has the files that were pushed, by their SHA-256, `jobs/`
a folder for each job that is running or whose results wait, `kept/` those that the user wants to look at.

fcntl and pwd are imported where they are used: Windows, which has neither, reads this file to send it.

A request is one line of JSON, and so is each line of an answer; the bytes of files follow the line that names them.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, BinaryIO, Iterator

HELLO = "secateur-agent 1"
CHUNK = 1 << 20
OLD = 30 * 24 * 3600
"""Seconds after which a pushed file that no job used is removed."""
RUNTIMES = ("numpy", "onnxruntime", "onnxruntime-gpu", "tensorrt", "tensorrt-rtx")


class AgentError(Exception):
    """A request that cannot be met; `kind` tells the other side what it is."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def home() -> Path:
    """The folder of everything; only this user may look into it."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    folder = (Path(base) if Path(base).is_absolute() else Path.home() / ".cache") / "secateur"
    for path in (folder, folder / "store", folder / "jobs", folder / "kept"):
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def boot() -> str:
    """What differs from start to start of this machine."""
    path = Path("/proc/sys/kernel/random/boot_id")
    return path.read_text().strip() if path.exists() else ""


def hello(request: dict[str, Any], incoming: BinaryIO) -> Iterator[dict[str, Any]]:
    """What this machine is, what is installed, and how much space is left."""
    import pwd

    folder = home()
    model = Path("/proc/device-tree/model")
    tegra = Path("/etc/nv_tegra_release")
    yield {
        "python": platform.python_version(),
        "executable": sys.executable,
        "machine": platform.machine(),
        "system": f"{platform.system()} {platform.release()}",
        "host": platform.node(),
        "user": pwd.getpwuid(os.getuid()).pw_name,
        "model": model.read_text(errors="replace").strip("\0\n ") if model.exists() else "",
        "jetson_linux": tegra.read_text(errors="replace").split(",")[0].strip("# \n") if tegra.exists() else "",
        "packages": {name: version for name in RUNTIMES if (version := _version(name))},
        "free_bytes": shutil.disk_usage(str(folder)).free,
        "stored_bytes": sum(path.stat().st_size for path in (folder / "store").iterdir()),
        "jobs": sorted(path.name for path in (folder / "jobs").iterdir()),
        "boot": boot(),
    }


def _version(name: str) -> str:
    from importlib import metadata

    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def have(request: dict[str, Any], incoming: BinaryIO) -> Iterator[dict[str, Any]]:
    """Whether each file is here whole, and how many bytes of it are where it is not."""
    store = home() / "store"
    found = {}
    for digest in request["files"]:
        whole, part = store / _digest(digest), store / f"{digest}.part"
        if whole.exists():
            os.utime(str(whole))  # it is in use
        found[digest] = [whole.exists(), part.stat().st_size if part.exists() else 0]
    yield {"files": found}


def put(request: dict[str, Any], incoming: BinaryIO) -> Iterator[dict[str, Any]]:
    """Takes the rest of each file, and keeps it where its SHA-256 is the one that was promised."""
    store = home() / "store"
    needed = sum(size - start for _, size, start in request["files"])
    free = shutil.disk_usage(str(store)).free
    if needed > free:
        raise AgentError("no-space", f"{needed} bytes are to be pushed, but {free} are free in {store}")
    for digest, size, start in request["files"]:
        part = store / f"{_digest(digest)}.part"
        with part.open("ab") as file:
            if file.tell() > size:  # more than there is can only be damaged
                file.seek(0)
                file.truncate()
            if file.tell() != start:
                raise AgentError("changed", f"{part} has {file.tell()} bytes, not {start}")
            left = size - start
            while left:
                data = incoming.read(min(CHUNK, left))
                if not data:
                    return  # cut off: what has come stays, and the next push goes on from there
                file.write(data)
                left -= len(data)
            file.flush()
            os.fsync(file.fileno())
        if _sha256(part) != digest:
            part.unlink()
            raise AgentError("damaged", f"{digest} arrived damaged")
        part.replace(store / digest)
        yield {"stored": digest}


def start(request: dict[str, Any], incoming: BinaryIO) -> Iterator[dict[str, Any]]:
    """Starts a job that outlives this connection; one that is there already is left as it is."""
    folder = home()
    job = folder / "jobs" / _digest(request["job"])
    if job.exists():
        yield {"state": state(job)}
        return
    for name, digest in request["files"].items():
        _inside(name)
        _digest(digest)
    sys.stdout.flush()
    from_child, to_parent = os.pipe()
    if os.fork() == 0:
        os.close(from_child)
        _supervise(job, folder / "store", request, to_parent)
    os.close(to_parent)
    with os.fdopen(from_child) as told:
        found = json.loads(told.read() or '{"error": "killed", "message": "the job was killed before it began"}')
    if "error" in found:
        raise AgentError(found["error"], found["message"])
    yield found


def _prepare(job: Path, store: Path, files: dict[str, str]) -> int:
    """Lays out the files of a job, whole or not at all, and returns the lock that says that it runs."""
    import fcntl

    part = job.with_name(job.name + ".part")
    shutil.rmtree(str(part), ignore_errors=True)
    (part / "work" / "out").mkdir(parents=True)
    for name, digest in files.items():
        path = part / "work" / _inside(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(str(store / _digest(digest)), str(path))  # no link: a job may change what it was given
    (part / "boot").write_text(boot())
    (part / "pid").write_text(str(os.getpid()))
    alive = os.open(str(part / "alive"), os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(alive, fcntl.LOCK_EX)
    part.replace(job)
    return alive


def _supervise(job: Path, store: Path, request: dict[str, Any], parent: int) -> None:
    """The process that starts the job and waits for it; it never returns."""
    try:
        os.setsid()
        try:
            held = _device_lock(), _prepare(job, store, request["files"])
        except (AgentError, OSError) as error:
            os.write(parent, json.dumps(failure(error)).encode())
            return
        with (job / "log").open("ab", 0) as log, Path(os.devnull).open("rb") as nothing:
            for number, file in ((0, nothing), (1, log), (2, log)):
                os.dup2(file.fileno(), number)
        os.write(parent, b'{"state": "running"}')
        os.close(parent)
        code = 127
        argv = [sys.executable if word == "{python}" else word for word in request["argv"]]
        places = [str(job / "work"), *filter(None, [os.environ.get("PYTHONPATH")])]  # PYTHONSAFEPATH may be set
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(places)}
        try:  # what measures keeps the locks, even if this process is killed
            code = subprocess.Popen(argv, cwd=str(job / "work"), pass_fds=held, env=env).wait()
        except OSError as error:
            print(f"{argv[0]} cannot be started: {error.strerror}", file=sys.stderr, flush=True)
        part = job / "code.part"
        part.write_text(str(code))
        part.replace(job / "code")
    finally:
        os._exit(0)


def state(job: Path) -> str:
    """`running`, `done`, `rebooted` or `killed`."""
    import fcntl

    if (job / "code").exists():
        return "done"
    with (job / "alive").open("ab") as alive:
        try:
            fcntl.flock(alive, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return "running"
    if (job / "code").exists():  # it ended in between
        return "done"
    return "killed" if (job / "boot").read_text() == boot() else "rebooted"


def follow(request: dict[str, Any], incoming: BinaryIO) -> Iterator[dict[str, Any]]:
    """What a job writes, from a byte of its log on, until it ends; then how, and its results."""
    job = home() / "jobs" / _digest(request["job"])
    if not job.exists():
        raise AgentError("no-job", "there is no such job")
    at = int(request["at"])
    while True:
        now = state(job)
        if (job / "log").exists():
            with (job / "log").open("rb") as log:
                log.seek(at)
                text = log.read(CHUNK)
            if text:
                at += len(text)
                yield {"log": text.decode(errors="replace"), "at": at}
                continue
        if now == "running":
            yield {"beat": at}
            time.sleep(float(request.get("every", 0.2)))
            continue
        done: dict[str, Any] = {"state": now, "at": at}
        if now == "done":
            out = job / "work" / "out"
            files = sorted(path for path in out.rglob("*") if path.is_file() and not path.is_symlink())
            done["code"] = int((job / "code").read_text())
            done["files"] = [[str(one.relative_to(out)), one.stat().st_size, _sha256(one)] for one in files]
        yield done
        return


def get(request: dict[str, Any], incoming: BinaryIO) -> Iterator[dict[str, Any]]:
    """The rest of a result, as bytes after a line that says how many."""
    path = home() / "jobs" / _digest(request["job"]) / "work" / "out" / _inside(request["path"])
    size = path.stat().st_size
    yield {"bytes": size - request["at"]}
    with path.open("rb") as file:
        file.seek(request["at"])
        shutil.copyfileobj(file, sys.stdout.buffer, CHUNK)
    sys.stdout.buffer.flush()


def clean(request: dict[str, Any], incoming: BinaryIO) -> Iterator[dict[str, Any]]:
    """Removes a job that does not run, or moves it to `kept/`; old files of the store go too."""
    folder = home()
    job = folder / "jobs" / _digest(request["job"])
    where = ""
    if job.exists():
        if state(job) == "running":
            raise AgentError("running", "the job is running")
        if request.get("keep"):
            where = str(folder / "kept" / f"{job.name[:12]}-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}")
            job.replace(where)
        else:
            shutil.rmtree(str(job))
    for path in (folder / "store").iterdir():
        if time.time() - path.stat().st_mtime > OLD:
            path.unlink()
    yield {"kept": where}


def stop(request: dict[str, Any], incoming: BinaryIO) -> Iterator[dict[str, Any]]:
    """Ends this user's jobs that run, and removes them."""
    found = []
    for job in (home() / "jobs").iterdir():
        if (job / "pid").exists() and state(job) == "running":
            os.killpg(int((job / "pid").read_text()), signal.SIGKILL)
            found.append(job.name)
            while state(job) == "running":
                time.sleep(0.05)
        shutil.rmtree(str(job))
    yield {"stopped": found}


def wipe(request: dict[str, Any], incoming: BinaryIO) -> Iterator[dict[str, Any]]:
    """Removes everything that secateur has here."""
    folder = home()
    if any(state(job) == "running" for job in (folder / "jobs").iterdir() if (job / "alive").exists()):
        raise AgentError("running", "a job is running")
    shutil.rmtree(str(folder))
    yield {"wiped": str(folder)}


def _device_lock() -> int:
    """The lock of the whole device, which all its users share, held by the descriptor that is returned."""
    import fcntl

    path = os.environ.get("SECATEUR_LOCK", "/tmp/secateur.lock")
    try:
        try:
            number = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
        except FileExistsError:  # of another user, who may not be the first to make it
            number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EAGAIN):
            raise AgentError("busy", _holder(path)) from error
        raise
    return number


def _holder(path: str) -> str:
    """Whose process holds the lock, as far as this machine says."""
    about = Path(path).stat()
    wanted = f"{os.major(about.st_dev):02x}:{os.minor(about.st_dev):02x}:{about.st_ino}"
    locks = Path("/proc/locks")
    for line in locks.read_text().splitlines() if locks.exists() else ():
        words = line.split()
        process = Path("/proc") / words[4]
        if wanted in words and process.exists():
            return f"{process.owner()} measures here (process {words[4]})"
    return "somebody measures here"


def _digest(word: str) -> str:
    if len(word) != 64 or set(word) - set("0123456789abcdef"):
        raise AgentError("bad-request", f"{word!r} is no SHA-256")
    return word


def _inside(name: str) -> str:
    if not name or any(part in ("", ".", "..") for part in name.split("/")) or "\0" in name:
        raise AgentError("bad-request", f"{name!r} is no path inside a folder")
    return name


def _sha256(path: Path) -> str:
    found = hashlib.sha256()
    with path.open("rb") as file:
        for data in iter(lambda: file.read(CHUNK), b""):
            found.update(data)
    return found.hexdigest()


OPERATIONS = {one.__name__: one for one in (hello, have, put, start, follow, get, clean, stop, wipe)}


def failure(error: Exception) -> dict[str, str]:
    """An error as a line of the answer."""
    if isinstance(error, AgentError):
        return {"error": error.kind, "message": str(error)}
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    return {"error": "no-space" if full else "os", "message": str(error)}


def serve(incoming: BinaryIO) -> None:
    """Answers one request."""
    print("\n" + HELLO, flush=True)
    try:
        request = json.loads(incoming.readline())
        for answer in OPERATIONS[request["op"]](request, incoming):
            print(json.dumps(answer), flush=True)
    except (AgentError, OSError) as error:
        print(json.dumps(failure(error)), flush=True)


if __name__ == "__main__":
    serve(sys.stdin.buffer)
