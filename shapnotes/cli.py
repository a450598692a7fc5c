"""The command line: `shapnotes bench exact`."""

import argparse
import json
import sys
from pathlib import Path

from shapnotes import bench


def main(arguments: list[str] | None = None) -> int:
    """Run a command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="shapnotes", description="Shapley values inside neural networks.")
    commands = parser.add_subparsers(dest="command", required=True)
    timing = commands.add_parser("bench", help="measure cost as ratios of times taken in turn")
    timing.add_argument("what", choices=["exact"], help="exact: exact values beside the bare model and beside shap")
    timing.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, ... (default: cpu)")
    timing.add_argument("--out", type=Path, help="write the record to this JSON file as well")
    options = parser.parse_args(arguments)

    record = bench.exact(options.device)
    print(_table(record))
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n")
    return 0


def _table(record: dict) -> str:
    lines = [
        f"{record['device']}, {record['threads']} threads, torch {record['versions']['torch']}, {record['date']}",
        " n hidden outputs  chunk   bare s  opaque/bare  linear/bare  shap/ours",
    ]
    for row in record["rows"]:
        shap = "" if row["shap_over_ours"] is None else f"{row['shap_over_ours']:9.1f}"
        lines.append(
            f"{row['n']:2d} {row['hidden']:6d} {row['outputs']:7d} {row['chunk_size']:6d} {row['bare_seconds']:8.4f} "
            f"{row['opaque_over_bare']:12.2f} {row['linear_over_bare']:12.2f}  {shap}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
