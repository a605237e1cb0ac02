"""The help of a verb: paragraphs of its docstring without line breaks."""

from edgebehave_cli.help_text import help_of


def verb():
    """Do one thing.

    A sentence that
    goes on.

    Example: [bold]edgebehave verb
    --option[/bold]
    """


def test_a_paragraph_is_one_line():
    assert help_of(verb) == (
        "Do one thing.\n\nA sentence that goes on.\n\nExample: [bold]edgebehave verb --option[/bold]"
    )
