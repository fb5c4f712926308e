"""Feast's own client against a feature server: feast_client.py URL VIEW. Prints JSON of what it read."""

import datetime
import json
import sys
import tempfile

import pandas
from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, FileSource, PushSource, RepoConfig
from feast.types import Array, Float32, Int64, String
from feast.value_type import ValueType

url, name = sys.argv[1:]
folder = tempfile.mkdtemp()
store = FeatureStore(
    config=RepoConfig(
        project="project",
        registry=folder + "/registry.db",
        provider="local",
        online_store={"type": "remote", "path": url},
        entity_key_serialization_version=3,
    )
)
driver = Entity(name="driver", join_keys=["driver_id"], value_type=ValueType.INT64)
files = FileSource(path=folder + "/none.parquet", timestamp_field="event_timestamp", created_timestamp_column="created")
view = FeatureView(
    name=name,
    entities=[driver],
    ttl=datetime.timedelta(days=1),
    schema=[
        Field(name="driver_id", dtype=Int64),
        Field(name="conv_rate", dtype=Float32),
        Field(name="trips", dtype=Int64),
        Field(name="words", dtype=Array(String)),
    ],
    source=PushSource(name=name + "_push", batch_source=files),
)
service = FeatureService(name=name + "_service", features=[view[["trips", "conv_rate"]]])
store.apply([driver, view, service])
now = datetime.datetime.now(datetime.timezone.utc)
frame = pandas.DataFrame(
    {
        "driver_id": [1001, 1002],
        "conv_rate": [0.5, None],
        "trips": [7, 8],
        "words": [["a"], ["b", "c"]],
        "event_timestamp": [now, now],
        "created": [now, now],
    }
)
store.push(name + "_push", frame)
store.write_to_online_store(name, frame.tail(1).assign(trips=[9], event_timestamp=now + datetime.timedelta(seconds=1)))
rows = [{"driver_id": 1002}, {"driver_id": 1001}, {"driver_id": 1}]
features = [f"{name}:{feature}" for feature in ("conv_rate", "trips", "words")]
print(
    json.dumps(
        {
            "features": store.get_online_features(features=features, entity_rows=rows).to_dict(),
            "service": store.get_online_features(features=store.get_feature_service(service.name), entity_rows=rows).to_dict(),
            "full": store.get_online_features(features=features[:1], entity_rows=rows, full_feature_names=True).to_dict(),
        }
    )
)
