"""The platform: for whoever runs it."""

from __future__ import annotations

from panels import Board, Panel, Query, Row, Variable

_SERVICE = '{service=~"$service"}'

BOARD = Board(
    uid="vila2-platform",
    title="VILA² platform",
    description="Processes, requests, the database, the object store, work units and disks.",
    variables=[Variable("service", "vila2_database_up")],
    rows=[
        Row(
            "Processes",
            [
                Panel(
                    "Alerts",
                    "That fire now; each has a runbook in docs/runbooks.",
                    [Query('count(ALERTS{alertstate="firing"}) or vector(0)', "alerts")],
                    "short", "stat", width=4, height=6,
                ),
                Panel(
                    "Answering",
                    "Processes whose metrics could be read, by kind.",
                    [Query("sum by (job) (up)", "{{job}}")],
                    "short", "stat", width=8, height=6,
                ),
                Panel(
                    "Versions",
                    "What runs where.",
                    [
                        Query(
                            "max by (instance, version, python) (vila2_build_info)",
                            "{{instance}} {{version}}",
                        )
                    ],
                    "short", "table", width=12, height=6,
                ),
                Panel(
                    "Memory",
                    "Resident.",
                    [
                        Query(
                            'max by (instance) (process_resident_memory_bytes{job=~"vila2.*"})',
                            "{{instance}}",
                        )
                    ],
                    "bytes", least=0,
                ),
                Panel(
                    "CPU",
                    "Cores that a process keeps busy.",
                    [
                        Query(
                            "sum by (instance) (rate("
                            'process_cpu_seconds_total{job=~"vila2.*"}[$__rate_interval]))',
                            "{{instance}}",
                        )
                    ],
                    "short", least=0,
                ),
                Panel(
                    "Disk free",
                    "Where a process keeps its files. DiskLow fires below 10 %.",
                    [
                        Query(
                            "min by (instance, folder) "
                            "(vila2_disk_free_bytes / vila2_disk_size_bytes)",
                            "{{instance}} {{folder}}",
                        )
                    ],
                    "percentunit", least=0, most=1,
                ),
            ],
        ),
        Row(
            "Requests",
            [
                Panel(
                    "Requests",
                    "Answered, by service.",
                    [
                        Query(
                            "sum by (service) "
                            f"(rate(vila2_http_requests_total{_SERVICE}[$__rate_interval]))",
                            "{{service}}",
                        )
                    ],
                    "reqps", least=0,
                ),
                Panel(
                    "Refused and failed",
                    "By service and status. ServiceErrors fires where 5 % are 5xx.",
                    [
                        Query(
                            "sum by (service, status) (rate(vila2_http_requests_total"
                            f'{{status=~"[45]..",{_SERVICE[1:]}[$__rate_interval]))',
                            "{{service}} {{status}}",
                        )
                    ],
                    "reqps", least=0,
                ),
                Panel(
                    "Time to answer",
                    "Nineteen of twenty requests take less.",
                    [
                        Query(
                            "histogram_quantile(0.95, sum by (le, service) (rate("
                            f"vila2_http_request_seconds_bucket{_SERVICE}[$__rate_interval])))",
                            "{{service}}",
                        )
                    ],
                    "s", least=0,
                ),
                Panel(
                    "Slowest routes",
                    "Mean time to answer of the slowest ten within the hour.",
                    [
                        Query(
                            "topk(10, sum by (service, method, route) "
                            f"(rate(vila2_http_request_seconds_sum{_SERVICE}[1h])) "
                            "/ sum by (service, method, route) "
                            f"(rate(vila2_http_request_seconds_count{_SERVICE}[1h]) > 0))",
                            "{{service}} {{method}} {{route}}",
                        )
                    ],
                    "s", "bars", width=24, height=9,
                ),
            ],
        ),
        Row(
            "Stores",
            [
                Panel(
                    "Database",
                    "1 where a service's last look at its tables worked.",
                    [Query(f"min by (service) (vila2_database_up{_SERVICE})", "{{service}}")],
                    "short", least=0, most=1,
                ),
                Panel(
                    "Since the last look",
                    "Services look every 5 seconds; a database that hangs shows here.",
                    [
                        Query(
                            "time() - max by (service) "
                            f"(vila2_looked_timestamp_seconds{_SERVICE})",
                            "{{service}}",
                        )
                    ],
                    "s", least=0,
                ),
                Panel(
                    "Object store",
                    "1 where the store answered a service last.",
                    [Query(f"min by (service) (vila2_object_store_up{_SERVICE})", "{{service}}")],
                    "short", least=0, most=1,
                ),
            ],
        ),
        Row(
            "Work units",
            [
                Panel(
                    "Oldest that waits",
                    "Of the units that could be taken.",
                    [
                        Query(
                            f"max by (service) (vila2_queue_oldest_seconds{_SERVICE})",
                            "{{service}}",
                        )
                    ],
                    "s", least=0,
                ),
                Panel(
                    "Taken and ended",
                    "Units a second, by what became of the attempt.",
                    [
                        Query(
                            "sum(rate(vila2_units_claimed_total[$__rate_interval]))", "taken"
                        ),
                        Query(
                            "sum by (outcome) (rate(vila2_units_ended_total[$__rate_interval]))",
                            "{{outcome}}",
                        ),
                    ],
                    "ops", least=0,
                ),
                Panel(
                    "Taken over and lost",
                    "Units taken over from a silent worker, and those lost by a late one.",
                    [
                        Query(
                            "sum by (task) "
                            "(rate(vila2_units_redelivered_total[$__rate_interval]))",
                            "{{task}} taken over",
                        ),
                        Query(
                            "sum by (task) (rate(vila2_leases_lost_total[$__rate_interval]))",
                            "{{task}} lost",
                        ),
                    ],
                    "ops", least=0,
                ),
                Panel(
                    "Stalest lease",
                    "Since it was renewed; near a lease (60 s) workers are in trouble.",
                    [
                        Query(
                            f"max by (service) (vila2_lease_oldest_seconds{_SERVICE})",
                            "{{service}}",
                        )
                    ],
                    "s", least=0,
                ),
                Panel(
                    "Samples taken in",
                    "By outcome: admitted, or why not.",
                    [
                        Query(
                            "sum by (outcome) "
                            "(rate(vila2_samples_ingested_total[$__rate_interval]))",
                            "{{outcome}}",
                        )
                    ],
                    "ops", least=0,
                ),
            ],
        ),
        Row(
            "Control",
            [
                Panel(
                    "Leaders",
                    "1, or NoLeader fires.",
                    [Query("sum by (role) (vila2_leader)", "{{role}}")],
                    "short", "stat", width=4,
                ),
                Panel(
                    "Changes of the leader",
                    "Leases taken from another or anew within an hour.",
                    [
                        Query(
                            "sum by (role) (increase(vila2_leaderships_total[1h]))", "{{role}}"
                        )
                    ],
                    "short", width=6, least=0,
                ),
                Panel(
                    "A look at all runs",
                    "Half and nine tenths take less. It should stay well below the lease of 15 s.",
                    [
                        Query(
                            f"histogram_quantile({share}, sum by (le) "
                            "(rate(vila2_reconcile_seconds_bucket[$__rate_interval])))",
                            name,
                        )
                        for share, name in ((0.5, "p50"), (0.9, "p90"))
                    ],
                    "s", width=7, least=0,
                ),
                Panel(
                    "Run events",
                    "Published a second.",
                    [
                        Query(
                            "sum(rate(vila2_events_published_total[$__rate_interval]))", "events"
                        )
                    ],
                    "ops", width=7, least=0,
                ),
            ],
        ),
    ],
)  # fmt: skip
