"""`edgebehave llm VERB`: behaviors predicted by a language model (BehaviorLM)."""

import typer

from edgebehave_cli import (
    llm_demo,
    llm_evaluate,
    llm_export,
    llm_predict,
    llm_pretrain,
    llm_tune,
)

app = typer.Typer(
    help="Predict behaviors with a language model, tuned in two stages (BehaviorLM).",
    no_args_is_help=True,
)
app.command("demo")(llm_demo.demo)
app.command("tune")(llm_tune.tune)
app.command("evaluate")(llm_evaluate.evaluate)
app.command("predict")(llm_predict.predict)
app.command("export")(llm_export.export)
app.command("pretrain")(llm_pretrain.pretrain)
