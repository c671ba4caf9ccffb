"""Writers: one file per format that a captioned dataset is exported in, and the dataset card."""

from vila2.data.writers.captioned import Captioned
from vila2.data.writers.card import dataset_card
from vila2.data.writers.export import FORMATS, ExportSummary, check_target, export

__all__ = ["FORMATS", "Captioned", "ExportSummary", "check_target", "dataset_card", "export"]
