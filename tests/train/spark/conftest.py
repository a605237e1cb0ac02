"""One small Spark session for all tests of Spark, skipped where there is no Java or no pyspark."""

import os
import shutil
import sys

import pytest


@pytest.fixture(scope="session")
def spark(tmp_path_factory):
    """Spark on two cores of this machine."""
    sql = pytest.importorskip("pyspark.sql", reason="pyspark is not installed: pip install 'edgebehave[spark]'")
    java = os.path.join(os.environ.get("JAVA_HOME", ""), "bin", "java")
    if not shutil.which("java") and not shutil.which(java):
        pytest.skip("Spark needs Java 17 or 21, and there is no java")
    folder = tmp_path_factory.mktemp("spark")
    os.environ["PYSPARK_PYTHON"] = os.environ["PYSPARK_DRIVER_PYTHON"] = sys.executable
    settings = {
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.memory": "1g",
        "spark.local.dir": str(folder),
        "spark.sql.warehouse.dir": str(folder / "warehouse"),
        "spark.sql.shuffle.partitions": "2",
        "spark.sql.session.timeZone": "America/New_York",  # no result may depend on it
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
    }
    builder = sql.SparkSession.builder.master("local[2]").appName("tests")
    for name, value in settings.items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    yield session
    session.stop()
