# Figures, from the tidy tables; each script draws one.


rule plot_score_vs_trainable:
    input:
        runs=f"{paths.TABLES}/runs.csv",
    output:
        pdf=f"{paths.FIGURES}/score_vs_trainable.pdf",
        png=report(
            f"{paths.FIGURES}/score_vs_trainable.png",
            caption="../report/score_vs_trainable.rst",
            category="Accuracy",
            labels={"study": "{study}", "what": "score vs trainable (figure)"},
        ),
    log:
        "logs/plot_score_vs_trainable/{study}.log",
    benchmark:
        "benchmarks/plot_score_vs_trainable/{study}.jsonl"
    conda:
        "../envs/analysis.yaml"
    resources:
        mem_mb=2000,
    script:
        "../../analysis/figures/score_vs_trainable.py"


rule plot_score_vs_stored:
    input:
        runs=f"{paths.TABLES}/runs.csv",
    output:
        pdf=f"{paths.FIGURES}/score_vs_stored.pdf",
        png=report(
            f"{paths.FIGURES}/score_vs_stored.png",
            caption="../report/score_vs_stored.rst",
            category="Accuracy",
            labels={"study": "{study}", "what": "score vs stored (figure)"},
        ),
    log:
        "logs/plot_score_vs_stored/{study}.log",
    benchmark:
        "benchmarks/plot_score_vs_stored/{study}.jsonl"
    conda:
        "../envs/analysis.yaml"
    resources:
        mem_mb=2000,
    script:
        "../../analysis/figures/score_vs_stored.py"


rule plot_training_loss:
    input:
        losses=f"{paths.TABLES}/losses.csv",
    output:
        pdf=f"{paths.FIGURES}/training_loss.pdf",
        png=report(
            f"{paths.FIGURES}/training_loss.png",
            caption="../report/training_loss.rst",
            category="Training",
            labels={"study": "{study}", "what": "training loss (figure)"},
        ),
    log:
        "logs/plot_training_loss/{study}.log",
    benchmark:
        "benchmarks/plot_training_loss/{study}.jsonl"
    conda:
        "../envs/analysis.yaml"
    resources:
        mem_mb=2000,
    script:
        "../../analysis/figures/training_loss.py"


rule plot_direction_preservation:
    input:
        directions=f"{paths.TABLES}/directions.csv",
    output:
        pdf=f"{paths.FIGURES}/direction_preservation.pdf",
        png=report(
            f"{paths.FIGURES}/direction_preservation.png",
            caption="../report/direction_preservation.rst",
            category="Update directions",
            labels={"study": "{study}", "what": "direction preservation (figure)"},
        ),
    log:
        "logs/plot_direction_preservation/{study}.log",
    benchmark:
        "benchmarks/plot_direction_preservation/{study}.jsonl"
    conda:
        "../envs/analysis.yaml"
    resources:
        mem_mb=2000,
    script:
        "../../analysis/figures/direction_preservation.py"


rule plot_gradient_alignment:
    input:
        gradients=f"{paths.TABLES}/gradients.csv",
    output:
        pdf=f"{paths.FIGURES}/gradient_alignment.pdf",
        png=report(
            f"{paths.FIGURES}/gradient_alignment.png",
            caption="../report/gradient_alignment.rst",
            category="Update directions",
            labels={"study": "{study}", "what": "gradient alignment (figure)"},
        ),
    log:
        "logs/plot_gradient_alignment/{study}.log",
    benchmark:
        "benchmarks/plot_gradient_alignment/{study}.jsonl"
    conda:
        "../envs/analysis.yaml"
    resources:
        mem_mb=2000,
    script:
        "../../analysis/figures/gradient_alignment.py"


rule plot_subspace_energy:
    input:
        gradients=f"{paths.TABLES}/gradients.csv",
    output:
        pdf=f"{paths.FIGURES}/subspace_energy.pdf",
        png=report(
            f"{paths.FIGURES}/subspace_energy.png",
            caption="../report/subspace_energy.rst",
            category="Update directions",
            labels={"study": "{study}", "what": "subspace energy (figure)"},
        ),
    log:
        "logs/plot_subspace_energy/{study}.log",
    benchmark:
        "benchmarks/plot_subspace_energy/{study}.jsonl"
    conda:
        "../envs/analysis.yaml"
    resources:
        mem_mb=2000,
    script:
        "../../analysis/figures/subspace_energy.py"


rule plot_principal_angles:
    input:
        gradients=f"{paths.TABLES}/gradients.csv",
    output:
        pdf=f"{paths.FIGURES}/principal_angles.pdf",
        png=report(
            f"{paths.FIGURES}/principal_angles.png",
            caption="../report/principal_angles.rst",
            category="Update directions",
            labels={"study": "{study}", "what": "principal angles (figure)"},
        ),
    log:
        "logs/plot_principal_angles/{study}.log",
    benchmark:
        "benchmarks/plot_principal_angles/{study}.jsonl"
    conda:
        "../envs/analysis.yaml"
    resources:
        mem_mb=2000,
    script:
        "../../analysis/figures/principal_angles.py"


rule plot_alignment_by_module:
    input:
        gradients=f"{paths.TABLES}/gradients.csv",
    output:
        pdf=f"{paths.FIGURES}/alignment_by_module.pdf",
        png=report(
            f"{paths.FIGURES}/alignment_by_module.png",
            caption="../report/alignment_by_module.rst",
            category="Update directions",
            labels={"study": "{study}", "what": "alignment by module (figure)"},
        ),
    log:
        "logs/plot_alignment_by_module/{study}.log",
    benchmark:
        "benchmarks/plot_alignment_by_module/{study}.jsonl"
    conda:
        "../envs/analysis.yaml"
    resources:
        mem_mb=2000,
    script:
        "../../analysis/figures/alignment_by_module.py"


rule plot_learning_rate_sweep:
    input:
        sweep=f"{paths.TABLES}/sweep.csv",
        selected=f"{paths.TABLES}/selected_lr.tsv",
    output:
        pdf=f"{paths.FIGURES}/learning_rate_sweep.pdf",
        png=report(
            f"{paths.FIGURES}/learning_rate_sweep.png",
            caption="../report/learning_rate_sweep.rst",
            category="Learning rates",
            labels={"study": "{study}", "what": "learning rate sweep (figure)"},
        ),
    log:
        "logs/plot_learning_rate_sweep/{study}.log",
    benchmark:
        "benchmarks/plot_learning_rate_sweep/{study}.jsonl"
    conda:
        "../envs/analysis.yaml"
    resources:
        mem_mb=2000,
    script:
        "../../analysis/figures/learning_rate_sweep.py"


rule plot_scale_sensitivity:
    input:
        runs=f"{paths.TABLES}/runs.csv",
        directions=f"{paths.TABLES}/directions.csv",
    output:
        pdf=f"{paths.FIGURES}/scale_sensitivity.pdf",
        png=report(
            f"{paths.FIGURES}/scale_sensitivity.png",
            caption="../report/scale_sensitivity.rst",
            category="Ablations",
            labels={"study": "{study}", "what": "scale sensitivity (figure)"},
        ),
    log:
        "logs/plot_scale_sensitivity/{study}.log",
    benchmark:
        "benchmarks/plot_scale_sensitivity/{study}.jsonl"
    conda:
        "../envs/analysis.yaml"
    resources:
        mem_mb=2000,
    script:
        "../../analysis/figures/scale_sensitivity.py"


rule plot_gradient_samples:
    input:
        runs=f"{paths.TABLES}/runs.csv",
        spectra=f"{paths.TABLES}/spectra.csv",
    output:
        pdf=f"{paths.FIGURES}/gradient_samples.pdf",
        png=report(
            f"{paths.FIGURES}/gradient_samples.png",
            caption="../report/gradient_samples.rst",
            category="Ablations",
            labels={"study": "{study}", "what": "samples of the gradient (figure)"},
        ),
    log:
        "logs/plot_gradient_samples/{study}.log",
    benchmark:
        "benchmarks/plot_gradient_samples/{study}.jsonl"
    conda:
        "../envs/analysis.yaml"
    resources:
        mem_mb=2000,
    script:
        "../../analysis/figures/gradient_samples.py"


rule plot_noise_level:
    input:
        runs=f"{paths.TABLES}/runs.csv",
        gradients=f"{paths.TABLES}/gradients.csv",
    output:
        pdf=f"{paths.FIGURES}/noise_level.pdf",
        png=report(
            f"{paths.FIGURES}/noise_level.png",
            caption="../report/noise_level.rst",
            category="Ablations",
            labels={"study": "{study}", "what": "noise of the start (figure)"},
        ),
    log:
        "logs/plot_noise_level/{study}.log",
    benchmark:
        "benchmarks/plot_noise_level/{study}.jsonl"
    conda:
        "../envs/analysis.yaml"
    resources:
        mem_mb=2000,
    script:
        "../../analysis/figures/noise_level.py"


rule plot_captured_energy:
    input:
        spectra=f"{paths.TABLES}/spectra.csv",
    output:
        pdf=f"{paths.FIGURES}/captured_energy.pdf",
        png=report(
            f"{paths.FIGURES}/captured_energy.png",
            caption="../report/captured_energy.rst",
            category="Update directions",
            labels={"study": "{study}", "what": "energy captured by rank (figure)"},
        ),
    log:
        "logs/plot_captured_energy/{study}.log",
    benchmark:
        "benchmarks/plot_captured_energy/{study}.jsonl"
    conda:
        "../envs/analysis.yaml"
    resources:
        mem_mb=2000,
    script:
        "../../analysis/figures/captured_energy.py"
