"""PyTorch Lightning: what the trainer was told, a loss for each epoch, the optimiser, and the model."""

import mlflow
import pytorch_lightning
import torch
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

mlflow.pytorch.autolog()


class Line(pytorch_lightning.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(3, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)

    def training_step(self, batch: list[torch.Tensor], _: int) -> torch.Tensor:
        loss = functional.mse_loss(self(batch[0]), batch[1])
        self.log("train_loss", loss, on_epoch=True, on_step=False)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def main() -> dict[str, object]:
    torch.manual_seed(7)
    x = torch.randn(64, 3)
    data = DataLoader(TensorDataset(x, x.sum(dim=1, keepdim=True)), batch_size=16)
    quiet = {
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "logger": False,
        "enable_checkpointing": False,
    }
    with mlflow.start_run(run_name="lightning") as run:
        model = Line()
        pytorch_lightning.Trainer(max_epochs=3, accelerator="cpu", **quiet).fit(model, data)
    version = mlflow.register_model(f"runs:/{run.info.run_id}/model", "sum-lightning")
    loaded = mlflow.pytorch.load_model(f"models:/{version.name}/{version.version}")
    with torch.no_grad():
        return {"run": run.info.run_id, "scored": model(x).numpy(), "again": loaded(x).numpy()}


if __name__ == "__main__":
    print(main())
