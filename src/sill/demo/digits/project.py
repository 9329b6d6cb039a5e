"""Which digit is it? Images in folders, classified by PyTorch; `sill apply project.py` makes it so."""

from typing import Any

import sill

PIXELS = [f"pixel_{place:02d}" for place in range(64)]
COLUMNS = ", ".join(f"pixels[{place + 1}] / 255.0 as {name}" for place, name in enumerate(PIXELS))

digits = sill.Project(
    "digits", note="1,797 handwritten digits of 8 by 8 pixels, scikit-learn's copy of the UCI test set"
)

images = digits.table("images", key="name", rules=[sill.one_of("label", [str(digit) for digit in range(10)])])

digits.ingest(images, sill.read("images", format="images"))

pixels = digits.features("pixels", entity="name", source=images, sql=f"select name, label, {COLUMNS} from images")


@digits.train(
    data=pixels,
    label="label",
    model="digit",
    gate=sill.Gate(metric="accuracy", minimum=0.85, margin=0.03, slice_drop_max=0.3, latency_ms_max=20),
    params={"channels": 12, "epochs": 24},
)
def fit(data: Any, params: dict[str, Any], run: Any) -> Any:
    """A small convolutional net."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)),  # (B, 64) → (B, 1, 8, 8)
        nn.Conv2d(1, params["channels"], 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),  # (B, channels, 4, 4)
        nn.Flatten(),
        nn.Linear(params["channels"] * 16, 10),
    )
    x, y = torch.from_numpy(data.X), torch.from_numpy(data.y)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    for epoch in range(params["epochs"]):
        total = 0.0
        for rows in torch.randperm(len(x)).split(64):
            loss = nn.functional.cross_entropy(net(x[rows]), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += float(loss) * len(rows)
        run.log_metric("loss", total / len(x), step=epoch)
    return net


digits.endpoint(
    "digit",
    model=fit,
    slo=sill.SLO(p99_ms=50),
    rollout=sill.Canary(shadow_requests=60, steps=(10, 50, 100), step_requests=20, disagreement_max=0.8),
    retrain=sill.on_drift(psi=0.2, labels_min=300),
    monitor={"window_requests": 200},
)
