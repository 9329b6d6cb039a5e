"""Evaluation datasets for MLflow's clients."""

from sill.api.mlflow.wiring import WireRoutes
from sill.api.routing import Call
from sill.protocols.mlflow import evaluation_datasets as messages

ROUTES = WireRoutes(tag="evaluation_datasets")
_ONE = "/mlflow/datasets/{dataset_id}"


@ROUTES.post("/mlflow/datasets/create", version=3, scope="runs:write", body=messages.CreateDataset, required=("name",))
async def create_dataset(call: Call) -> messages.DatasetAnswer:
    """Make a dataset without records."""
    body: messages.CreateDataset = call.body
    made = await call.services.evaluation_datasets.create(
        call.actor,
        call.project,
        body.name or "",
        experiment_ids=body.experiment_ids or (),
        tags=messages.tags_in(body.tags),
    )
    return messages.DatasetAnswer(dataset=messages.dataset_out(made))


@ROUTES.get(_ONE, version=3, scope="runs:read")
async def get_dataset(call: Call) -> messages.DatasetAnswer:
    """One dataset, without its records."""
    found = await call.services.evaluation_datasets.dataset(call.actor, call.project, call.path["dataset_id"])
    return messages.DatasetAnswer(dataset=messages.dataset_out(found))


@ROUTES.delete(_ONE, version=3, scope="runs:write")
async def delete_dataset(call: Call) -> None:
    """Delete a dataset with all its records."""
    await call.services.evaluation_datasets.delete(call.actor, call.project, call.path["dataset_id"])


@ROUTES.get("/mlflow/datasets/search", version=3, scope="runs:read", body=messages.SearchDatasets)
@ROUTES.post("/mlflow/datasets/search", version=3, scope="runs:read", body=messages.SearchDatasets)
async def search_datasets(call: Call) -> messages.FoundDatasets:
    """Datasets that match a filter."""
    body: messages.SearchDatasets = call.body
    page = await call.services.evaluation_datasets.search(
        call.actor,
        call.project,
        experiment_ids=body.experiment_ids or (),
        filter=body.filter_string or "",
        order_by=body.order_by or (),
        limit=body.max_results or messages.MAX_RESULTS,
        after=body.page_token or "",
    )
    found = tuple(map(messages.dataset_out, page.items))
    return messages.FoundDatasets(datasets=found, next_page_token=page.next or None)


@ROUTES.patch(f"{_ONE}/tags", version=3, scope="runs:write", body=messages.DatasetTags, required=("tags",))
async def set_dataset_tags(call: Call) -> messages.DatasetAnswer:
    """Set tags of a dataset."""
    tags = messages.tags_in(call.body.tags)
    kept = await call.services.evaluation_datasets.set_tags(call.actor, call.project, call.path["dataset_id"], tags)
    return messages.DatasetAnswer(dataset=messages.dataset_out(kept))


@ROUTES.delete(f"{_ONE}/tags/{{key:path}}", version=3, scope="runs:write")
async def delete_dataset_tag(call: Call) -> None:
    """Take a tag off a dataset."""
    await call.services.evaluation_datasets.delete_tag(
        call.actor, call.project, call.path["dataset_id"], call.path["key"]
    )


@ROUTES.get(f"{_ONE}/experiment-ids", version=3, scope="runs:read")
async def get_dataset_experiment_ids(call: Call) -> messages.ExperimentIds:
    """Experiments that use a dataset."""
    found = await call.services.evaluation_datasets.dataset(call.actor, call.project, call.path["dataset_id"])
    return messages.ExperimentIds(experiment_ids=found.experiment_ids)


@ROUTES.post(f"{_ONE}/add-experiments", version=3, scope="runs:write", body=messages.ExperimentIds)
async def add_dataset_to_experiments(call: Call) -> messages.DatasetAnswer:
    """Keep that experiments use a dataset."""
    kept = await call.services.evaluation_datasets.use(
        call.actor, call.project, call.path["dataset_id"], call.body.experiment_ids or ()
    )
    return messages.DatasetAnswer(dataset=messages.dataset_out(kept))


@ROUTES.post(f"{_ONE}/remove-experiments", version=3, scope="runs:write", body=messages.ExperimentIds)
async def remove_dataset_from_experiments(call: Call) -> messages.DatasetAnswer:
    """Keep that experiments do not use a dataset."""
    kept = await call.services.evaluation_datasets.leave(
        call.actor, call.project, call.path["dataset_id"], call.body.experiment_ids or ()
    )
    return messages.DatasetAnswer(dataset=messages.dataset_out(kept))


@ROUTES.post(f"{_ONE}/records", version=3, scope="runs:write", body=messages.UpsertRecords, required=("records",))
async def upsert_dataset_records(call: Call) -> messages.UpsertedRecords:
    """Add records; those whose inputs are known are merged."""
    records = messages.records_in(call.body.records)
    counted = await call.services.evaluation_datasets.upsert(call.actor, call.project, call.path["dataset_id"], records)
    return messages.UpsertedRecords(inserted_count=counted.inserted, updated_count=counted.updated)


@ROUTES.get(f"{_ONE}/records", version=3, scope="runs:read", body=messages.GetRecords)
async def get_dataset_records(call: Call) -> messages.FoundRecords:
    """Records of a dataset, in the order they came."""
    body: messages.GetRecords = call.body
    page = await call.services.evaluation_datasets.records(
        call.actor,
        call.project,
        call.path["dataset_id"],
        limit=body.max_results or messages.MAX_RESULTS,
        after=body.page_token or "",
    )
    return messages.FoundRecords(records=messages.records_out(page.items), next_page_token=page.next or None)


@ROUTES.delete(f"{_ONE}/records", version=3, scope="runs:write", body=messages.DeleteRecords)
async def delete_dataset_records(call: Call) -> messages.DeletedRecords:
    """Delete records of a dataset."""
    count = await call.services.evaluation_datasets.delete_records(
        call.actor, call.project, call.path["dataset_id"], call.body.dataset_record_ids or ()
    )
    return messages.DeletedRecords(deleted_count=count)
