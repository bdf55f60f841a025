rule prepare_task:
    output:
        splits=expand(
            f"{grid.DATA}/{{split}}.parquet",
            split=["train", "selection", "test"],
            allow_missing=True,
        ),
        manifest=f"{grid.DATA}/manifest.json",
    log:
        "logs/prepare_task/{study}/{model}/{task}.log",
    benchmark:
        "benchmarks/prepare_task/{study}/{model}/{task}.jsonl"
    conda:
        "../envs/lorasb.yaml"
    resources:
        mem_mb=4000,
    params:
        task=TASK_FLAGS,
        data_hash=lambda wildcards: checked(
            resolve.data_hash, wildcards.study, wildcards.model, wildcards.task
        ),
    shell:
        "python -m lorasb prepare {params.task} > {log} 2>&1"
