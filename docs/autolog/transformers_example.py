"""Transformers: the model's and the trainer's settings, a loss for each step; the model is logged with its tokenizer.

The model is a tiny BERT of random weights and the tokenizer knows six words, so that nothing is downloaded.
"""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import tempfile

import mlflow
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    PreTrainedTokenizerFast,
    Trainer,
    TrainingArguments,
    pipeline,
)

mlflow.transformers.autolog()

WORDS = {"[PAD]": 0, "[UNK]": 1, "good": 2, "bad": 3, "very": 4, "film": 5}
TEXTS = ["good film", "bad film", "very good film", "very bad film"]


def main() -> dict[str, object]:
    torch.manual_seed(7)
    known = Tokenizer(models.WordLevel(WORDS, unk_token="[UNK]"))
    known.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=known, unk_token="[UNK]", pad_token="[PAD]")
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    model = BertForSequenceClassification(BertConfig(vocab_size=len(WORDS), max_position_embeddings=16, **sizes))
    data = [{**tokenizer(text), "labels": int("good" in text)} for text in TEXTS]
    with tempfile.TemporaryDirectory() as folder, mlflow.start_run(run_name="transformers") as run:
        told = {"num_train_epochs": 2, "per_device_train_batch_size": 2, "logging_steps": 1, "save_strategy": "no"}
        settings = TrainingArguments(output_dir=folder, use_cpu=True, disable_tqdm=True, **told)
        Trainer(model=model, args=settings, train_dataset=data, processing_class=tokenizer).train()
        asked = pipeline("text-classification", model=model.eval(), tokenizer=tokenizer)
        scored = [answer["score"] for answer in asked(TEXTS)]
        logged = mlflow.transformers.log_model(asked, name="model", pip_requirements=["transformers", "torch"])
    version = mlflow.register_model(logged.model_uri, "films-transformers")
    loaded = mlflow.transformers.load_model(f"models:/{version.name}/{version.version}")
    return {"run": run.info.run_id, "scored": scored, "again": [answer["score"] for answer in loaded(TEXTS)]}


if __name__ == "__main__":
    print(main())
