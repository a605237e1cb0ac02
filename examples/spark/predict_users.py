"""Predict for all users of a log in order: spark-submit examples/spark/predict_users.py buckets runs/bundle scores"""

import sys

from pyspark.sql import SparkSession

from edgebehave_train.spark.bucketed_log import read_bucketed
from edgebehave_train.spark.predictions import predict_users

buckets, bundle, scores = sys.argv[1:]
spark = SparkSession.builder.getOrCreate()
predict_users(read_bucketed(spark, buckets), bundle, k=5).write.parquet(scores)
