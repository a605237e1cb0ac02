"""Write a log as Parquet in the order of a store: spark-submit examples/spark/write_log.py log.parquet buckets"""

import sys

from pyspark.sql import SparkSession

from edgebehave_train.spark.bucketed_log import log_events, write_bucketed

source, buckets = sys.argv[1:]
spark = SparkSession.builder.getOrCreate()
events = log_events(
    spark.read.parquet(source),
    user="user",
    time="time",
    time_unit="s",
    event="event",
    location="location",
    utc_offset="utc_offset_min",
    behavior="behavior",
    order=("_metadata.row_index",),
)
write_bucketed(events, buckets, num_files=16)
