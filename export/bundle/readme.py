"""The README.md of a bundle: what to do with it on a device."""

from __future__ import annotations

from collections.abc import Sequence

from secateur.export.markdown_text import markdown_line
from secateur.export.runner.manifest import Built

TEXT = """# {model}

A model pruned by secateur, with all that is needed to check it and to run it. On the device, in this folder:

```
python3 -m bundle_runner verify              # is it right and as fast as it says, here?
python3 -m bundle_runner infer PICTURE.jpg   # the most probable classes (a picture needs Pillow, an .npy nothing)
python3 -m bundle_runner bench               # its latency here, beside the dense model's where that is inside
```

The runner needs Python 3.8 or newer, numpy, and one of tensorrt, tensorrt_rtx and onnxruntime. `verify` looks at the
checksums, at the device and the runtimes, at the golden outputs and at the latency, and ends with 0 (pass), 1 (a check
failed), 2 (a damaged bundle) or 3 (inconclusive). A bundle that you were handed is better checked by a runner that you
have already: `secateur verify BUNDLE` runs nothing that is inside.

| engine | precision | built with | for |
| --- | --- | --- | --- |
{rows}

| file | what it holds |
| --- | --- |
| `MANIFEST.json` | the SHA-256 of every file, and what the graphs and engines are |
| `onnx/` | the graph in each precision |
| `engines/` | engines by target, below the device's name where one built them over ssh |
| `dense/` | the unpruned model to compare with, if it was wanted |
| `labels.json`, `preprocessing.json` | the classes in the order of the logits; how pictures become inputs |
| `golden/` | images, the inputs that they become, and the outputs in each precision |
| `evidence.json`, `environment.json` | what was measured, with raw samples; where, and with which versions |
| `licences/` | whose work this is |
"""


def readme(model: str, engines: Sequence[Built]) -> str:
    """The text for a model and its engines."""
    rows = [
        f"| `{one.name}` | {one.precision} | {one.runtime} {one.runtime_version} | "
        f"{', '.join(one.capabilities) or 'any processor'} |"
        for one in engines
    ]
    return TEXT.format(model=markdown_line(model), rows="\n".join(rows))
