# What methods start from: once per model, task, number of samples and seed, for all ranks
# and rates.


rule estimate_gradient:
    input:
        train=f"{paths.DATA}/train.parquet",
    output:
        gradient=f"{paths.GRADIENT}/gradient.safetensors",
        cost=f"{paths.GRADIENT}/gradient.json",
        record=f"{paths.GRADIENT}/record.json",
    log:
        "logs/estimate_gradient/{study}/{model}/{task}/n{samples}/seed{seed}.log",
    conda:
        "../envs/lorasb.yaml"
    threads: 1
    resources:
        **memory_of(memory.estimate_gradient, "model", "task"),
    params:
        task=TASK_FLAGS,
        gradient_hash=hash_of(hashes.gradient_hash, "model", "task", "samples"),
    shell:
        "python -m lorasb estimate-gradient {params.task} --samples {wildcards.samples} "
        "--seed {wildcards.seed} --threads {threads} > {log} 2>&1"


rule estimate_activations:
    input:
        train=f"{paths.DATA}/train.parquet",
    output:
        activations=f"{paths.ACTIVATIONS}/activations.safetensors",
        cost=f"{paths.ACTIVATIONS}/activations.json",
        record=f"{paths.ACTIVATIONS}/record.json",
    log:
        "logs/estimate_activations/{study}/{model}/{task}/n{samples}/seed{seed}.log",
    conda:
        "../envs/lorasb.yaml"
    threads: 1
    resources:
        **memory_of(memory.estimate_activations, "model", "task"),
    params:
        task=TASK_FLAGS,
        activations_hash=hash_of(hashes.activations_hash, "model", "task", "samples"),
    shell:
        "python -m lorasb estimate-activations {params.task} --samples {wildcards.samples} "
        "--seed {wildcards.seed} --threads {threads} > {log} 2>&1"


rule factorize_gradient:
    input:
        gradient=f"{paths.GRADIENT}/gradient.safetensors",
    output:
        factors=f"{paths.GRADIENT_FACTORS}/factors.safetensors",
        cost=f"{paths.GRADIENT_FACTORS}/factors.json",
        record=f"{paths.GRADIENT_FACTORS}/record.json",
    log:
        "logs/factorize_gradient/{study}/{model}/{task}/n{samples}/seed{seed}.log",
    conda:
        "../envs/lorasb.yaml"
    threads: 1
    resources:
        **memory_of(memory.factorize_gradient, "model", "task"),
    params:
        task=TASK_FLAGS,
        factors_hash=hash_of(hashes.factors_hash, "model", "task", "samples"),
    shell:
        "python -m lorasb factorize-gradient {params.task} --samples {wildcards.samples} "
        "--seed {wildcards.seed} --threads {threads} > {log} 2>&1"


rule factorize_weights:
    input:
        get_model,
    output:
        factors=f"{paths.WEIGHT_FACTORS}/factors.safetensors",
        cost=f"{paths.WEIGHT_FACTORS}/factors.json",
        record=f"{paths.WEIGHT_FACTORS}/record.json",
    log:
        "logs/factorize_weights/{study}/{model}.log",
    conda:
        "../envs/lorasb.yaml"
    threads: 1
    resources:
        **memory_of(memory.factorize_weights, "model"),
    params:
        factors_hash=hash_of(hashes.weight_factors_hash, "model"),
    shell:
        "python -m lorasb factorize-weights --study {wildcards.study} --model {wildcards.model} "
        "--threads {threads} > {log} 2>&1"
