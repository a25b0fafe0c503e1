"""Where Ray has placed a replica, by what it says of groups and nodes; no Ray is started."""

import asyncio

import pytest
import ray

from scaling_exp import cluster
from scaling_exp.cluster import RayReplica
from scaling_exp.dispatch import ReplicaDied
from scaling_exp.engines.simulated import Simulated
from scaling_exp.worker import Work

NODES = [{"NodeID": "a1", "NodeManagerAddress": "10.0.0.1", "NodeManagerPort": 7}]


def test_a_node_that_is_lost_between_the_placing_and_the_start_blames_no_job(monkeypatch):
    """Ray then names no node for the bundle until it has found another: one replica fewer, and no end of the run."""
    monkeypatch.setattr(ray, "nodes", lambda: NODES)
    group = {"bundles_to_node_id": {0: ""}, "state": "RESCHEDULING"}
    monkeypatch.setattr(cluster, "placement_group_table", lambda _: group)
    work = Work(Simulated(4, 0.01, 0.001, lambda _prefix, _seed: (1,)), {}, None)  # type: ignore[arg-type]
    replica = RayReplica(work, None, lambda _: None)  # type: ignore[arg-type]
    with pytest.raises(ReplicaDied) as lost:
        asyncio.run(replica.start())
    assert not lost.value.blames_jobs
    group["bundles_to_node_id"] = {0: "a1"}
    assert cluster._address_of_node(None) == ("10.0.0.1", 7)  # type: ignore[arg-type]
