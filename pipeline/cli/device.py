"""`secateur device add NAME ADDRESS`, `list`, `doctor`, `stop` and `remove`."""

from __future__ import annotations

from dataclasses import asdict

import click

from secateur.pipeline.cli.common import Progress, echo, json_option, print_json


@click.group("device", short_help="Devices that are reached over ssh: add, list, doctor, stop, remove.")
def command() -> None:
    """Names devices that are reached over ssh, for the option --device of other commands.

    OpenSSH is used with your own settings, keys and known hosts: a device whose key is not known is refused.

    Example: secateur device add orin ssh://user@192.168.1.7
    """


@command.command("add", short_help="Name a device.")
@click.argument("name")
@click.argument("address")
@click.option("--python", default="python3", show_default=True, help="The interpreter there that has a runtime.")
@click.option("--replace", is_flag=True, help="Replace the device of that name.")
def add(name: str, address: str, python: str, replace: bool) -> None:
    """Names the device at an ADDRESS such as ssh://user@host:port; nothing is sent to it.

    Example: secateur device add orin ssh://user@192.168.1.7:22 --python /opt/venv/bin/python
    """
    from secateur.export.devices.device import parse_device
    from secateur.export.devices.registry import add_device

    device = parse_device(name, address, python)
    add_device(device, replace)
    echo(f"see what {name} has with `secateur device doctor {name}`", err=True)


@command.command("list", short_help="All devices.")
@json_option
def list_devices(as_json: bool) -> None:
    """Lists all devices.

    Example: secateur device list
    """
    from secateur.export.devices.registry import devices

    found = devices()
    if as_json:
        print_json({"schema": "secateur.devices/1", "devices": [asdict(device) for device in found]})
        return
    for device in found:
        echo(f"{device.name}  {device.address}  {device.python}")
    if not found:
        echo("no device yet: add one with `secateur device add NAME ssh://user@host`", err=True)


@command.command("remove", short_help="Forget a device.")
@click.argument("name")
@click.option("--wipe", is_flag=True, help="Remove what secateur has stored there first.")
def remove(name: str, wipe: bool) -> None:
    """Forgets a device.

    Example: secateur device remove orin --wipe
    """
    from secateur.export.devices.registry import find_device, remove_device
    from secateur.export.devices.transfer import ask, part_of

    if wipe:
        device = find_device(name)
        echo(f"removed {part_of(device, ask(device, 'wipe'), 'wiped', str)} on {name}", err=True)
    remove_device(name)


@command.command("stop", short_help="End what runs on a device.")
@click.argument("name")
def stop(name: str) -> None:
    """Ends your work that still runs on a device, such as that of a command that was interrupted, and removes it.

    Example: secateur device stop orin
    """
    from secateur.export.devices.registry import find_device
    from secateur.export.devices.transfer import ask, part_of

    device = find_device(name)
    echo(f"{len(part_of(device, ask(device, 'stop'), 'stopped', list[str]))} stopped", err=True)


@command.command("doctor", short_help="What a device is, and which of its sensors can be read.")
@click.argument("name")
@json_option
def doctor(name: str, as_json: bool) -> None:
    """Says what a device is, which runtimes its Python has, and which sensors can be read; exit 2 where it is not
    reached.

    Example: secateur device doctor orin
    """
    from secateur.export.devices.examine import contents, sensed
    from secateur.export.devices.registry import find_device

    device = find_device(name)
    with Progress() as progress:
        progress("device", f"asking {name}")
        found = contents(device)
        sensors = sensed(device, lambda message: progress("device", message))
    if as_json:
        content = {"device": asdict(device), **asdict(found), "sensors": asdict(sensors)}
        print_json({"schema": "secateur.device/1", **content})
        return
    packages = ", ".join(f"{package} {version}" for package, version in found.packages.items())
    facts = {
        "address": device.address,
        "board": found.model or "-",
        "system": f"{found.system} {found.machine}" + (f", {found.jetson_linux}" if found.jetson_linux else ""),
        "python": f"{found.python} ({found.executable}): {packages or 'no package that is needed'}",
        "space": f"{found.free_bytes / 1e9:.1f} GB free, {found.stored_bytes / 1e9:.2f} GB of secateur's",
        "jobs": f"{len(found.jobs)} (end them with `secateur device stop {name}`)" if found.jobs else "none",
        **sensors.settings,
        **{probe: f"{value:g} ({kind})" for probe, kind, value in sensors.probes},
    }
    for fact, value in facts.items():
        echo(f"{fact}: {value}")
    for sensor, why in sensors.absent.items():
        echo(f"not there: {sensor}: {why}")
    for sentence in found.lacks:
        echo(f"missing: {sentence}")
