"""Writers: one file per format that a captioned dataset is exported in."""

from vila2.data.writers.captioned import Captioned
from vila2.data.writers.export import FORMATS, ExportSummary, export

__all__ = ["FORMATS", "Captioned", "ExportSummary", "export"]
