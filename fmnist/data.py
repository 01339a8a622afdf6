"""The data: `python -m fmnist.data` finds or fetches them, checks them and says where they are."""

from fmnist.cli.entry import Parser, enter


def _body(argv: list[str] | None) -> None:
    from fmnist.checks import check
    from fmnist.study.compose import compose_config
    from fmnist.training import data, fetch

    parser = Parser("fmnist.data", "Find or fetch Fashion-MNIST, check it, and say where it is.")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="data.dir=FOLDER, data.source=csv, ...")
    options = check(compose_config(parser.parse_args(argv).overrides)).data
    if options.source == "idx" and not options.dir:
        fetch.fetch()
    found = data.load(options)
    sizes = f"{len(found.train_labels):,} training and {len(found.test_labels):,} test images"
    print(f"{found.source}: {sizes}, digest {found.digest}")


def main(argv: list[str] | None = None) -> int:
    """Carry out the command line; see `fmnist.cli.entry` for the exit codes."""
    return enter("fmnist.data", lambda: _body(argv))


if __name__ == "__main__":
    raise SystemExit(main())
