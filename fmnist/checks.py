"""Whether a run is possible: each option by itself, and those that depend on each other."""

from fmnist import network
from fmnist.config import CLASS_COUNT, Config, UserError, check_options, validation_rows
from fmnist.words import plural

MOST_PARAMETERS = 100_000_000  # whose training takes some gigabytes; the baseline has 940,170


def check(config: Config) -> Config:
    """Return the config if a run of it is possible.

    Raises:
        UserError: an option is impossible; the message names key, value and remedy.
    """
    check_options(config)
    for key in ("train_csv", "test_csv"):
        if config.data.source == "csv" and not getattr(config.data, key):
            raise UserError(f"data.source=csv needs data.{key}=FILE (Kaggle's fashion-mnist CSV)")
    network.filters_per_convolution(config.model)
    network.feature_sizes(config.model)
    parameters = network.parameter_count(config.model)
    if parameters > MOST_PARAMETERS:
        raise UserError(
            f"the network would have {parameters:,} parameters, but at most {MOST_PARAMETERS:,} are possible; "
            "lower model.filters or model.dense_units"
        )
    rows = validation_rows(config.data)
    if config.data.limit is not None:
        _check_limit(config, config.data.limit, rows)
    return config


def _check_limit(config: Config, limit: int, rows: int | None) -> None:
    validation = round(limit * config.data.validation)
    if validation < CLASS_COUNT:
        raise UserError(
            f"data.limit={limit} leaves {plural(validation, 'row')} for validation, "
            f"fewer than the {CLASS_COUNT} classes; "
            f"the least that works is {-(-CLASS_COUNT // config.data.validation):.0f}"
        )
    if limit - validation < config.batch_size:
        raise UserError(
            f"data.limit={limit} leaves {plural(limit - validation, 'row')} for training, less than one batch of "
            f"{config.batch_size}; raise data.limit or lower batch_size"
        )
    if rows is not None and config.data.validation_rows != "auto" and rows < validation:
        raise UserError(
            f"data.validation_rows must be at least {validation:,}, which is "
            f"data.validation={config.data.validation} of data.limit={limit}, but got {rows}"
        )
