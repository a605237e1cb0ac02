"""`edgebehave llm VERB`: behaviors predicted by a language model (BehaviorLM)."""

import typer

from edgebehave_cli.help_text import help_of
from edgebehave_cli.llm import demo, evaluate, export, predict, pretrain, tune

app = typer.Typer(
    help="Predict behaviors with a language model, tuned in two stages (BehaviorLM).", no_args_is_help=True
)
for _verb in (demo.demo, tune.tune, evaluate.evaluate, predict.predict, export.export, pretrain.pretrain):
    app.command(_verb.__name__, help=help_of(_verb))(_verb)
