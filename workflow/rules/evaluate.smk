rule score:
    input:
        predictions=get_predictions,
        split=f"{paths.DATA}/{{split}}.parquet",
    output:
        metrics=f"{paths.SCORES}/{{split}}.metrics.csv",
        per_item=f"{paths.SCORES}/{{split}}.items.parquet",
        record=f"{paths.SCORES}/{{split}}.record.json",
    log:
        "logs/score/{study}/{model}/{task}/{split}.log",
    conda:
        "../envs/lorasb.yaml"
    resources:
        mem_mb=4000,
    params:
        task=TASK_FLAGS,
        available=AVAILABLE,
        score_hash=hash_of(hashes.score_hash, "task"),
    shell:
        "python -m lorasb score {params.task} --split {wildcards.split} {params.available} > {log} 2>&1"


rule probe_directions:
    input:
        snapshots=get_snapshots,
        train=f"{paths.DATA}/train.parquet",
    output:
        directions=paths.DIRECTIONS,
        gradients=paths.GRADIENT_PROBES,
        records=[record_of(paths.DIRECTIONS), record_of(paths.GRADIENT_PROBES)],
    log:
        "logs/probe_directions/{study}/{model}/{task}.log",
    conda:
        "../envs/lorasb.yaml"
    threads: 1
    resources:
        **memory_of(memory.probe_directions, "model", "task"),
    params:
        task=TASK_FLAGS,
        available=AVAILABLE,
        probe=lambda wildcards: study_of(wildcards).settings(wildcards.task)["probe"],
    shell:
        "python -m lorasb probe-directions {params.task} --threads {threads} "
        "{params.available} > {log} 2>&1"


rule measure_spectra:
    input:
        gradients=get_gradients,
    output:
        spectra=paths.SPECTRA,
        record=record_of(paths.SPECTRA),
    log:
        "logs/measure_spectra/{study}/{model}/{task}.log",
    conda:
        "../envs/lorasb.yaml"
    threads: 1
    resources:
        **memory_of(memory.measure_spectra, "model", "task"),
    params:
        task=TASK_FLAGS,
    shell:
        "python -m lorasb measure-spectra {params.task} --threads {threads} > {log} 2>&1"


rule collect:
    input:
        scores=get_scores("test"),
        directions=of_all_tasks(paths.DIRECTIONS),
        gradients=of_all_tasks(paths.GRADIENT_PROBES),
        spectra=of_all_tasks(paths.SPECTRA),
        manifests=of_all_tasks(f"{paths.DATA}/manifest.json"),
        released=get_released,
    output:
        runs=f"{paths.TABLES}/runs.csv",
        scores=f"{paths.TABLES}/scores.csv",
        per_item=f"{paths.TABLES}/items.parquet",
        losses=f"{paths.TABLES}/losses.csv",
        directions=f"{paths.TABLES}/directions.csv",
        gradients=f"{paths.TABLES}/gradients.csv",
        spectra=f"{paths.TABLES}/spectra.csv",
        data=f"{paths.TABLES}/data.csv",
        origins=f"{paths.TABLES}/origins.csv",
        record=f"{paths.TABLES}/collect.record.json",
    log:
        "logs/collect/{study}.log",
    conda:
        "../envs/lorasb.yaml"
    resources:
        mem_mb=4000,
    params:
        available=AVAILABLE,
    shell:
        "python -m lorasb collect --study {wildcards.study} {params.available} > {log} 2>&1"


rule select_lr:
    input:
        scores=get_scores("selection"),
    output:
        sweep=f"{paths.TABLES}/sweep.csv",
        selected=f"{paths.TABLES}/selected_lr.tsv",
        record=f"{paths.TABLES}/select_lr.record.json",
    log:
        "logs/select_lr/{study}.log",
    conda:
        "../envs/lorasb.yaml"
    resources:
        mem_mb=4000,
    params:
        available=AVAILABLE,
        metrics=lambda wildcards: [
            task.selection_metric for task in study_of(wildcards).tasks.values()
        ],
    shell:
        "python -m lorasb select-lr --study {wildcards.study} {params.available} 2> {log}"
