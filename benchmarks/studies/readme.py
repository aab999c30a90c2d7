"""Writes the tables of the README and of the results' page from the committed files, so that each number has one.

`python -m secateur_studies.readme` rewrites what stands between `<!-- table NAME -->` and `<!-- end -->`; a test
fails while a page says anything else than the files.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import click
from secateur_studies.beside_tables import beside
from secateur_studies.beyond_classes import rows_of as rows_of_tasks
from secateur_studies.bundle_bytes import table_of as bytes_table
from secateur_studies.eight_bit_engines import engines_table
from secateur_studies.eight_bits import table_of
from secateur_studies.eight_bits_beside import beside_libraries
from secateur_studies.error_rates.rates import table_of as table_of_rates
from secateur_studies.frontier_table import frontier
from secateur_studies.joint_plans import table_of as joint_table
from secateur_studies.memory_of_images import table_of as memory_table
from secateur_studies.oneshot_tables import (
    deit_by_part,
    deit_by_way,
    deit_grid,
    latency_plan,
    peers_best,
    peers_oneshot,
)
from secateur_studies.parity import table_of as parity_table
from secateur_studies.peers_frontier_tables import peers_frontier
from secateur_studies.random_pieces import PIECES
from secateur_studies.score_tables import Table, cnn_a_pr, relevance_speed, transformer_a_pr
from secateur_studies.whole_way import mistakes, reached
from secateur_studies.xpruner_tables import class_specialised, curves_of, variants_of

from secateur.benchmarks.results_file import read_bench
from secateur.core.errors import BenchError
from secateur.core.files import read_json, write_text
from secateur.pipeline.report.table import rows_of

RESULTS = Path("benchmarks/results")
PAGES = (Path("README.md"), RESULTS / "README.md")
_TABLE = re.compile(r"(<!-- table (?P<name>\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def demo(results: Path) -> str:
    """Dense against pruned, of the demo."""
    rows = rows_of(read_bench(results / "demo.json"))
    head = ("`make demo`, measured", "dense", "pruned", "change")
    return markdown(head, ((row.name, row.dense, row.pruned, row.change) for row in rows))


def coverage(results: Path) -> str:
    """How many of timm's families go the whole way."""
    content = read_json(results / "coverage.json", "coverage")
    rows, peer = content["rows"], content["reference"]
    stages = {
        "pruned, removed equal to masked": "verify",
        "trained on, saved and loaded": "load",
        "the same in ONNX Runtime": "parity",
        "a TensorRT-RTX engine": "engine",
    }
    theirs = {"parity": str(sum(peer.get(name) == "done" for name in rows))}
    head = (f"of {len(rows)} families of timm", "secateur", "Torch-Pruning 1.6.1")
    lines = [(word, str(reached(rows, stage)), theirs.get(stage, "")) for word, stage in stages.items()]
    proven = {name: row for name, row in rows.items() if "planted" in row}
    noticed, planted, hidden = mistakes(proven)
    lines.append(
        (f"in {len(proven)} families, wrong readers planted that the proof notices", f"{noticed} of {planted}", "")
    )
    lines.append(("in these, groups that are not verifiable", str(hidden), ""))
    return markdown(head, lines)


def foreign_coverage(results: Path) -> str:
    """How many models that timm did not make go the whole way."""
    rows = read_json(results / "foreign_coverage.json", "foreign_coverage")["rows"]
    peers = {name: row["peer"] for name, row in rows.items()}
    stages = {
        "pruned": ("prune", "prune"),
        "removed equal to masked": ("verify", ""),
        "saved, and loaded by a new process": ("load", ""),
        "the same in ONNX Runtime": ("parity", "parity"),
        "a TensorRT-RTX engine": ("engine", ""),
    }
    head = (f"of {len(rows)} models that timm did not make", "secateur", "Torch-Pruning 1.6.1")
    lines = [
        (word, str(reached(rows, ours)), str(reached(peers, theirs)) if theirs else "")
        for word, (ours, theirs) in stages.items()
    ]
    noticed, planted, hidden = mistakes(rows)
    lines.append(("wrong readers planted that the proof notices", f"{noticed} of {planted}", ""))
    lines.append(("groups that are not verifiable", str(hidden), ""))
    return markdown(head, lines)


def random_networks(results: Path) -> str:
    """What became of networks put together at random."""
    rows = read_json(results / "random_networks.json", "random_networks")["rows"]
    ends = Counter(row["end"] for row in rows.values())
    groups = sum(row.get("groups", 0) for row in rows.values())
    lines = [
        (f"pruned at random in {groups} groups, trained, and run at other sizes: removed equal to masked", "proven"),
        ("refused in a sentence", "refused"),
        ("something else computed, or no longer trained", "wrong"),
        ("ended in an error of PyTorch or Python", "raised"),
    ]
    head = (f"of {len(rows)} random networks of {len(PIECES)} kinds of blocks", "secateur")
    return markdown(head, [(words, str(ends[end])) for words, end in lines])


def bundle_fuzz(results: Path) -> str:
    """How damaged bundles ended in `secateur verify`."""
    content = read_json(results / "bundle_fuzz.json", "bundle_fuzz")
    words = {
        "archive": "bytes of the archive",
        "members": "files missing, added, linked or changed",
        "manifest": "the manifest",
        "arrays": "golden arrays, checksums right again",
        "pictures": "pictures, checksums right again",
        "json": "labels, preprocessing, evidence, checksums right again",
        "graphs": "graphs, checksums right again",
    }
    ends = ("refused", "fail", "inconclusive", "pass", "raised")
    rows = [(words[kind], *(str(found.get(end, 0)) for end in ends)) for kind, found in content["ends"].items()]
    columns = ("refused", "a check failed", "inconclusive", "passed all the same", "a traceback")
    return markdown((f"of {content['count']} damaged bundles", *columns), rows)


def reader_fuzz(results: Path) -> str:
    """How damaged files ended in the readers of what others have made."""
    content = read_json(results / "reader_fuzz.json", "reader_fuzz")
    ends = ("refused", "accepted", "raised")
    rows = [
        (kind, str(sum(found.values())), *(str(found.get(end, 0)) for end in ends))
        for kind, found in content["ends"].items()
    ]
    columns = ("tried", "refused in a sentence", "read all the same", "a traceback, or no end")
    return markdown((f"of {content['count']} damaged files", *columns), rows)


def bundle_bytes(results: Path) -> str:
    """Bundles of real models, made twice, and what Pythons without secateur say of them."""
    return markdown(*bytes_table(read_json(results / "bundle_bytes.json", "bundle_bytes")["rows"]))


def error_rates(results: Path) -> str:
    """How often a gate is wrong or undecided."""
    return markdown(*table_of_rates(read_json(results / "error_rates.json", "error_rates")))


def structure_speed(results: Path) -> str:
    """Seconds and memory of pruning, beside Torch-Pruning."""
    models = read_json(results / "structure_speed.json", "structure_speed")["models"]
    lines = []
    for name, model in models.items():
        ours, theirs = model["samples"]["secateur"], model["samples"]["torch-pruning"]
        memory = [max(row["added_peak_bytes"] / row["model_bytes"] for row in side) for side in (ours, theirs)]
        seconds = model["median_seconds"]
        lines.append(
            (
                f"`{name}`",
                f"{seconds['secateur']:.1f} s",
                f"{seconds['torch-pruning']:.1f} s",
                *(f"{times:.1f} x model" for times in memory),
            )
        )
    head = ("half of all units, by magnitude", "secateur", "Torch-Pruning 1.6.1", "added memory", "theirs")
    return markdown(head, lines)


def beyond_classes(results: Path) -> str:
    """A segmenter and a detector, dense and pruned to half."""
    return markdown(*rows_of_tasks(read_json(results / "beyond_classes.json", "beyond_classes")))


def eight_bits(results: Path) -> str:
    """Graphs in 8 bits by secateur and by others."""
    return markdown(*table_of(read_json(results / "eight_bits.json", "eight_bits")))


def joint_plans(results: Path) -> str:
    """Units and bits planned together, beside int8 alone and pruning before it."""
    return markdown(*joint_table(read_json(results / "joint_plans.json", "joint_plans")))


def memory_of_images(results: Path) -> str:
    """The most memory that scoring and repair take, by the number of images."""
    return markdown(*memory_table(read_json(results / "memory_of_images.json", "memory_of_images")["rows"]))


def eight_bit_engines(results: Path) -> str:
    """TensorRT-RTX engines of DeiT-Tiny in 16 and 8 bits."""
    return markdown(*engines_table(read_json(results / "eight_bit_engines.json", "eight_bit_engines")))


def parity(results: Path) -> str:
    """How far graphs are from PyTorch in each type, beside what is allowed."""
    return markdown(*parity_table(read_json(results / "parity.json", "parity")["rows"]))


def of_scores(table: Callable[[Path], Table]) -> Callable[[Path], str]:
    """The Markdown of a table of scores."""
    return lambda results: markdown(*table(results))


TABLES: dict[str, Callable[[Path], str]] = {
    **{
        table.__name__: table
        for table in (
            demo,
            coverage,
            foreign_coverage,
            random_networks,
            bundle_bytes,
            bundle_fuzz,
            reader_fuzz,
            error_rates,
        )
    },
    **{
        table.__name__: table
        for table in (
            *(structure_speed, beyond_classes, eight_bits, eight_bit_engines, joint_plans, parity, memory_of_images),
        )
    },
    **{table.__name__: of_scores(table) for table in (transformer_a_pr, cnn_a_pr, relevance_speed)},
    **{table.__name__: of_scores(table) for table in (deit_by_part, deit_by_way, deit_grid)},
    **{
        table.__name__: of_scores(table)
        for table in (beside, beside_libraries, peers_best, peers_oneshot, peers_frontier, frontier, latency_plan)
    },
    **{f"xpruner_{task}": of_scores(curves_of(task)) for task in ("ten", "thousand", "swin")},
    "xpruner_variants": of_scores(variants_of("swin")),
    "class_specialised": of_scores(class_specialised),
}


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table whose columns but the first are aligned to the right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def rendered(readme: str, results: Path) -> str:
    """A page's text with every table as the files under `results` have it.

    Raises `BenchError` for a table that this module does not know.
    """

    def table(found: re.Match[str]) -> str:
        name = found["name"]
        if name not in TABLES:
            raise BenchError(f"a page asks for a table {name!r}, but there are only {', '.join(TABLES)}")
        return f"{found[1]}{TABLES[name](results)}{found[3]}"

    return _TABLE.sub(table, readme)


@click.command()
@click.option("--page", "pages", type=click.Path(path_type=Path, exists=True), multiple=True, default=PAGES)
@click.option("--results", type=click.Path(path_type=Path, exists=True), default=RESULTS, show_default=True)
def main(pages: Sequence[Path], results: Path) -> None:
    """Rewrites the tables of the README and of the results' own page in place."""
    for page in pages:
        write_text(page, rendered(page.read_text(encoding="utf-8"), results))


if __name__ == "__main__":
    main()
