# What frozen-basis methods start from: once per model, task, number of samples and seed, for all ranks
# and rates.


rule estimate_gradient:
    input:
        train=f"{grid.DATA}/train.parquet",
    output:
        gradient=f"{grid.GRADIENT}/gradient.safetensors",
        cost=f"{grid.GRADIENT}/gradient.json",
    log:
        "logs/estimate_gradient/{study}/{model}/{task}/n{samples}/seed{seed}.log",
    benchmark:
        "benchmarks/estimate_gradient/{study}/{model}/{task}/n{samples}/seed{seed}.jsonl"
    conda:
        "../envs/lorasb.yaml"
    threads: 1
    resources:
        mem_mb=4000,
    params:
        task=TASK_FLAGS,
        gradient_hash=lambda wildcards: checked(
            resolve.gradient_hash,
            wildcards.study,
            wildcards.model,
            wildcards.task,
            int(wildcards.samples),
        ),
    shell:
        "python -m lorasb estimate-gradient {params.task} --samples {wildcards.samples} "
        "--seed {wildcards.seed} --threads {threads} > {log} 2>&1"


rule factorize_gradient:
    input:
        gradient=f"{grid.GRADIENT}/gradient.safetensors",
    output:
        factors=f"{grid.GRADIENT_FACTORS}/factors.safetensors",
        cost=f"{grid.GRADIENT_FACTORS}/factors.json",
    log:
        "logs/factorize_gradient/{study}/{model}/{task}/n{samples}/seed{seed}.log",
    benchmark:
        "benchmarks/factorize_gradient/{study}/{model}/{task}/n{samples}/seed{seed}.jsonl"
    conda:
        "../envs/lorasb.yaml"
    threads: 1
    resources:
        mem_mb=4000,
    params:
        task=TASK_FLAGS,
        factors_hash=lambda wildcards: checked(
            resolve.factors_hash,
            wildcards.study,
            wildcards.model,
            wildcards.task,
            int(wildcards.samples),
        ),
    shell:
        "python -m lorasb factorize-gradient {params.task} --samples {wildcards.samples} "
        "--seed {wildcards.seed} --threads {threads} > {log} 2>&1"


rule factorize_weights:
    output:
        factors=f"{grid.WEIGHT_FACTORS}/factors.safetensors",
        cost=f"{grid.WEIGHT_FACTORS}/factors.json",
    log:
        "logs/factorize_weights/{study}/{model}.log",
    benchmark:
        "benchmarks/factorize_weights/{study}/{model}.jsonl"
    conda:
        "../envs/lorasb.yaml"
    threads: 1
    resources:
        mem_mb=4000,
    params:
        factors_hash=lambda wildcards: checked(
            resolve.weight_factors_hash, wildcards.study, wildcards.model
        ),
    shell:
        "python -m lorasb factorize-weights --study {wildcards.study} --model {wildcards.model} "
        "--threads {threads} > {log} 2>&1"
