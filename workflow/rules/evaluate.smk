rule score:
    input:
        predictions=get_predictions,
        split=f"{grid.DATA}/{{split}}.parquet",
    output:
        metrics=f"{grid.SCORES}/{{split}}.metrics.csv",
        per_item=f"{grid.SCORES}/{{split}}.items.parquet",
    log:
        "logs/score/{study}/{model}/{task}/{split}.log",
    benchmark:
        "benchmarks/score/{study}/{model}/{task}/{split}.jsonl"
    conda:
        "../envs/lorasb.yaml"
    resources:
        mem_mb=4000,
    params:
        task=TASK_FLAGS,
        available=AVAILABLE,
        score_hash=lambda wildcards: checked(resolve.score_hash, wildcards.task),
    shell:
        "python -m lorasb score {params.task} --split {wildcards.split} {params.available} > {log} 2>&1"


rule probe_directions:
    input:
        snapshots=get_snapshots,
        train=f"{grid.DATA}/train.parquet",
    output:
        directions=grid.DIRECTIONS,
        gradients=grid.GRADIENT_PROBES,
    log:
        "logs/probe_directions/{study}/{model}/{task}.log",
    benchmark:
        "benchmarks/probe_directions/{study}/{model}/{task}.jsonl"
    conda:
        "../envs/lorasb.yaml"
    threads: 1
    resources:
        mem_mb=4000,
    params:
        task=TASK_FLAGS,
        available=AVAILABLE,
        probe=lambda wildcards: checked(
            resolve.resolve, wildcards.study, wildcards.model, wildcards.task
        ).settings["probe"],
    shell:
        "python -m lorasb directions {params.task} --threads {threads} "
        "{params.available} > {log} 2>&1"


rule measure_spectra:
    input:
        gradients=get_gradients,
    output:
        spectra=grid.SPECTRA,
    log:
        "logs/measure_spectra/{study}/{model}/{task}.log",
    benchmark:
        "benchmarks/measure_spectra/{study}/{model}/{task}.jsonl"
    conda:
        "../envs/lorasb.yaml"
    threads: 1
    resources:
        mem_mb=4000,
    params:
        task=TASK_FLAGS,
    shell:
        "python -m lorasb measure-spectra {params.task} --threads {threads} > {log} 2>&1"


rule collect:
    input:
        scores=get_scores("test"),
        directions=of_all_tasks(grid.DIRECTIONS),
        gradients=of_all_tasks(grid.GRADIENT_PROBES),
        spectra=of_all_tasks(grid.SPECTRA),
        manifests=of_all_tasks(f"{grid.DATA}/manifest.json"),
    output:
        runs=f"{grid.TABLES}/runs.csv",
        scores=f"{grid.TABLES}/scores.csv",
        per_item=f"{grid.TABLES}/items.parquet",
        losses=f"{grid.TABLES}/losses.csv",
        directions=f"{grid.TABLES}/directions.csv",
        gradients=f"{grid.TABLES}/gradients.csv",
        spectra=f"{grid.TABLES}/spectra.csv",
        data=f"{grid.TABLES}/data.csv",
    log:
        "logs/collect/{study}.log",
    benchmark:
        "benchmarks/collect/{study}.jsonl"
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
        sweep=f"{grid.TABLES}/sweep.csv",
        selected=f"{grid.TABLES}/selected_lr.tsv",
    log:
        "logs/select_lr/{study}.log",
    benchmark:
        "benchmarks/select_lr/{study}.jsonl"
    conda:
        "../envs/lorasb.yaml"
    resources:
        mem_mb=4000,
    params:
        available=AVAILABLE,
    shell:
        "python -m lorasb collect-sweep --study {wildcards.study} {params.available} > {log} 2>&1"
