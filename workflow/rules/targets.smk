# What people ask for by name.
#
# Snakemake takes no notice of a missing file between two that are there, not even if a job that failed
# removed it. So all that comes of the study's cells is asked for too, records above all: a job writes its
# record last.


def results_of(split, tidy):
    """An input function: what the study's cells of a split come from and lead to, up to rule `tidy`."""

    def files(wildcards):
        cells = checked(STUDY.scored_cells, split)
        starts = {start for cell in cells for start in STUDY.start_files(cell)}
        of_cell = ["train.record.json", "predict.record.json", "predictions.jsonl"]
        of_task = [f"{paths.DATA}/record.json", *rules.score.output]
        if split == "test":
            of_task += [*rules.probe_directions.output, *rules.measure_spectra.output]
        return [
            *existing(str(start.with_name("record.json")) for start in sorted(starts)),
            *existing(str(cell.folder / name) for cell in cells for name in of_cell),
            *(
                str(STUDY.folder(pattern.replace("{split}", split), *pair))
                for pair in STUDY.pairs
                for pattern in of_task
            ),
            *expand(getattr(rules, tidy).output, study=STUDY.name),
        ]

    return files


rule tables:
    input:
        results_of("test", "collect"),
        expand(
            f"{paths.TABLES}/{{name}}.md",
            study=STUDY.name,
            name=wanted(TABLE_ROWS, FOR_STUDY),
        ),


rule figures:
    input:
        results_of("test", "collect"),
        expand(
            f"{paths.FIGURES}/{{name}}.png",
            study=STUDY.name,
            name=wanted(FIGURE_ROWS, FOR_STUDY),
        ),


rule sweep:
    input:
        results_of("selection", "select_lr"),
        expand(
            f"{paths.FIGURES}/{{name}}.png",
            study=STUDY.name,
            name=wanted(FIGURE_ROWS, {"sweep"}),
        ),


rule plan:
    log:
        f"logs/plan/{STUDY.name}.log",
    conda:
        "../envs/lorasb.yaml"
    params:
        study=STUDY.name,
    shell:
        "python -m lorasb plan --study {params.study} 2> {log}"
