"""Short arithmetic word problems in the form of GSM8K, scored by OpenCompass's own GSM8K classes."""

# ruff: noqa: C408 - OpenCompass configs are written with dict(...)

from opencompass.datasets import GSM8KDataset, Gsm8kEvaluator, gsm8k_dataset_postprocess, gsm8k_postprocess
from opencompass.openicl.icl_inferencer import GenInferencer
from opencompass.openicl.icl_prompt_template import PromptTemplate
from opencompass.openicl.icl_retriever import ZeroRetriever

demo_arithmetic_datasets = [
    dict(
        abbr="demo_arithmetic",
        type=GSM8KDataset,
        # Only string methods: imports of a config are lazy, so `pathlib` cannot be called here.
        path=__file__.rpartition("/")[0] + "/../../data/demo_arithmetic",
        reader_cfg=dict(input_columns=["question"], output_column="answer"),
        infer_cfg=dict(
            prompt_template=dict(
                type=PromptTemplate,
                template=dict(
                    round=[
                        dict(
                            role="HUMAN",
                            prompt="{question}\nPlease reason step by step, "
                            "and put your final answer within \\boxed{}.",
                        )
                    ]
                ),
            ),
            retriever=dict(type=ZeroRetriever),
            inferencer=dict(type=GenInferencer, max_out_len=128),
        ),
        eval_cfg=dict(
            evaluator=dict(type=Gsm8kEvaluator),
            pred_postprocessor=dict(type=gsm8k_postprocess),
            dataset_postprocessor=dict(type=gsm8k_dataset_postprocess),
        ),
    )
]
