"""What a run leaves on disk: the truth, of which every log, plot and dashboard is a view.

    ROOT/RUN/manifest.json       resolved configuration, versions, fingerprints
    ROOT/RUN/draws/*.parquet     every draw that this run paid for; the pool is the union over all runs of ROOT
    ROOT/RUN/draws/*.journal     draws of the last minutes of a run that is drawing, or was killed
    ROOT/RUN/engines.parquet     what every engine replica did
    ROOT/RUN/traces.parquet      every node of every forest, and the draw it is
    ROOT/RUN/grades.parquet      every distinct answer to a problem, and whether it is right
    ROOT/RUN/samples.parquet     the tidy join of draws, traces and grades, with text: one row per accepted leaf

A draw is (model, prefix token ids, sampling, seed) and its key is a hash of these, so it is found again by whatever run
asks for it next. Between two Parquet parts draws go to a journal (an Arrow stream, written at every batch): after
`kill -9` the next run turns what it holds into a part. This package knows tables; it knows neither engines nor tasks.
"""

from scaling_exp.store.draws import DRAWS, Draw, Known, draw_key, encode, sampling_json, stream_of
from scaling_exp.store.files import StoreError
from scaling_exp.store.folder import RunFolder, Store, folder_of
from scaling_exp.store.journal import Journal
from scaling_exp.store.mirror import uri_of
from scaling_exp.store.parts import (
    KNOWN_COLUMNS,
    Index,
    Pool,
    completions,
    known_by_root,
    values_of,
)
from scaling_exp.store.sources import NotDrawn, Pooled, Replay

__all__ = [
    "DRAWS",
    "KNOWN_COLUMNS",
    "Draw",
    "Index",
    "Journal",
    "Known",
    "NotDrawn",
    "Pool",
    "Pooled",
    "Replay",
    "RunFolder",
    "Store",
    "StoreError",
    "completions",
    "draw_key",
    "encode",
    "folder_of",
    "known_by_root",
    "sampling_json",
    "stream_of",
    "uri_of",
    "values_of",
]
