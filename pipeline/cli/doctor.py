"""`secateur doctor`."""

from __future__ import annotations

from dataclasses import asdict

import click

from secateur.pipeline.cli.common import json_option, print_json


@click.command("doctor", short_help="What this machine can do, and how to get what is missing.")
@json_option
def command(as_json: bool) -> None:
    """Lists drivers, GPUs, runtimes and precisions of this machine, and how to get what is missing.

    Example: secateur doctor
    """
    from rich.table import Table

    from secateur.export.capabilities import examine
    from secateur.export.targets import JETSONS
    from secateur.pipeline.report.console import InertConsole

    machine = examine()
    if as_json:
        print_json({"schema": "secateur.doctor/1", **asdict(machine)})
        return
    console = InertConsole()
    facts = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    gpus = ", ".join(
        f"{gpu.name} ({', '.join(filter(None, (gpu.capability, JETSONS.get(gpu.capability))))}, {gpu.memory_mib} MiB)"
        for gpu in machine.gpus
    )
    for name, value in {
        "python": machine.python,
        "system": machine.system,
        "cpu": f"{machine.cpu}, {machine.cpu_count} usable, {machine.memory_mib} MiB",
        "gpu": gpus or "none",
        "driver": machine.driver or "none",
        "CUDA of PyTorch": machine.torch_cuda or "none",
        "ONNX Runtime": ", ".join(machine.providers) or "no provider",
        "TensorRT-RTX": f"builds for {', '.join(machine.ahead_of_time)}" if machine.ahead_of_time else "not here",
        "compilers": f"nvcc {machine.nvcc or 'none'}, NVRTC {'found' if machine.nvrtc else 'none'}",
    }.items():
        facts.add_row(name, value)
    for runtime, has in machine.features.items():
        for word, wanted in (("has", True), ("lacks", False)):
            listed = [feature for feature, there in has.items() if there is wanted]
            facts.add_row(f"{runtime} {word}", ", ".join(listed) or "nothing of what others have")
    for package in machine.packages:
        known = package.version if package.usable else f"{package.version} {package.note}".strip()
        facts.add_row(package.name, known)
    console.print(facts)
    table = Table(title="targets", title_justify="left")
    for column in ("target", "build", "run", "precisions"):
        table.add_column(column)
    for ability in machine.targets:
        build, run = ("yes" if can else "-" for can in (ability.build, ability.run))
        table.add_row(ability.target, build, run, " ".join(ability.precisions))
    console.print(table)
    for ability in machine.targets:
        if ability.advice:
            console.print(f"{ability.target}: {ability.advice}", soft_wrap=True)
    for warning in machine.warnings:
        console.print(f"warning: {warning}", style="yellow", soft_wrap=True)
