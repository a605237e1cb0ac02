"""`edgebehave llm VERB`: behaviors predicted by a language model (BehaviorLM)."""

import typer

from edgebehave_cli.llm import demo, evaluate, export, predict, pretrain, tune

app = typer.Typer(
    help="Predict behaviors with a language model, tuned in two stages (BehaviorLM).", no_args_is_help=True
)
app.command("demo")(demo.demo)
app.command("tune")(tune.tune)
app.command("evaluate")(evaluate.evaluate)
app.command("predict")(predict.predict)
app.command("export")(export.export)
app.command("pretrain")(pretrain.pretrain)
