# SPDX-License-Identifier: Apache-2.0
"""The `smwm` command: finds the verb, parses arguments, and prints user errors in one line."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
import errno
from functools import partial
from importlib import import_module
import os
import re
import sys
from typing import NoReturn

from smwm_ros import __version__
from smwm_ros.errors import ADVICE, ConfigError, in_words, SmwmError
from smwm_ros.streams import lasting_streams
from smwm_ros.text import echo, line

VERBS = (
    'demo',
    'record',
    'inspect',
    'convert',
    'view',
    'export',
    'import',
    'export-model',
    'collect',
    'train',
    'label',
    'check',
    'adapt',
    'prepare',
    'evaluate',
    'lam-report',
    'rehearse',
    'replay',
    'goals',
    'goal',
    'engage',
    'stop',
    'status',
    'watch',
    'toy',
    'bench',
    'doctor',
)
_SETTING = re.compile(r'[A-Za-z_][\w.]*=')


class _Parser(argparse.ArgumentParser):
    """Prints errors in one line, whatever characters the arguments hold."""

    def error(self, message: str) -> NoReturn:
        """Print the error, and exit."""
        super().error(line(message))


def build_parser(names: Sequence[str] = VERBS) -> argparse.ArgumentParser:
    """Build the parser of some verbs; their modules import nothing heavy."""
    parser = _Parser(
        prog='smwm',
        description='From rosbags to a robot that plans from pixels.',
        epilog='`smwm VERB --help` explains a verb, with an example and its defaults.',
        formatter_class=partial(argparse.HelpFormatter, max_help_position=20),
    )
    parser.add_argument('--version', action='version', version=f'smwm_ros {__version__}')
    verbs = parser.add_subparsers(dest='verb', metavar='VERB', required=True)
    for name in names:
        module = import_module(f'smwm_ros.verbs.{name.replace("-", "_")}')
        about = (module.__doc__ or '').strip()
        verb = verbs.add_parser(
            name,
            help=about.splitlines()[0],
            description=about,
            epilog=f'example: {module.EXAMPLE}',
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        verb.set_defaults(run=module.run)
        module.add_arguments(verb)
    return parser


def dispatch(words: Sequence[str]) -> int:
    """Run one verb; errors pass through."""
    settings = [word for word in words if _SETTING.match(word)]
    # Only the module of the verb: smwm doctor must run where one of the others cannot be imported.
    names = [words[0]] if words and words[0] in VERBS else VERBS
    args = build_parser(names).parse_args([word for word in words if not _SETTING.match(word)])
    if settings and 'settings' not in args:
        raise ConfigError(f"'{settings[0]}': this command takes no key=value words")
    args.settings = settings
    code: int = args.run(args)
    return code


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; return 0 for success, 2 for a user error, 1 for anything else."""
    # Threads that spin while they wait make a shared machine 10 times slower. OpenMP reads this
    # when torch is imported, which no module has done yet.
    os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
    words = list(sys.argv[1:] if argv is None else argv)
    name = ' '.join(['smwm', *words[:1]])
    from smwm_ros.progress import show_log

    with lasting_streams() as out, show_log():
        code = _attempt(words, name)
        out.flush()
        # A closed pipe (`| head`) is not a failure.
        if code == 0 and out.error and not isinstance(out.error, BrokenPipeError):
            echo(f'{name}: stdout: cannot be written: {in_words(out.error)}', file=sys.stderr)
            return 2
        return code


def _attempt(words: Sequence[str], name: str) -> int:
    """Run one verb, and print user and system errors."""
    try:
        return dispatch(words)
    except SmwmError as error:
        echo(f'{name}: {error}', file=sys.stderr)
        return 2
    except OSError as error:
        # tempfile raises this without a file name when it finds no usable folder.
        placeless = error.errno == errno.ENOENT and error.filename is None
        if error.errno not in ADVICE and not placeless:
            raise
        where = f'{error.filename}: ' if error.filename else ''
        echo(f'{name}: {where}{in_words(error)}', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        echo(f'{name}: interrupted; run it again to resume', file=sys.stderr)
        return 130


if __name__ == '__main__':
    sys.exit(main())
