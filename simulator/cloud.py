"""The simulated cloud: one world and the services in it, put together.

`Cloud(scenario, clock)` builds everything; `cloud.app` answers HTTP. Services know each other through the cloud.
"""

from pathlib import Path

from starlette.applications import Starlette
from starlette.routing import Mount

from simulator.cloud_pc_api import CloudPcApi
from simulator.cloud_pcs import CloudPcs
from simulator.compute import Compute
from simulator.control import Control
from simulator.desktop import Desktop
from simulator.disks import Disks
from simulator.entra import Entra
from simulator.galleries import Galleries
from simulator.graph import Graph
from simulator.graph_devices import GraphDevices
from simulator.guest import Guest
from simulator.images import Images
from simulator.insights import Insights
from simulator.kernel.clock import Clock
from simulator.kernel.faults import Faults
from simulator.kernel.gate import Gate
from simulator.kernel.journal import Journal
from simulator.kernel.operations import Operations
from simulator.kernel.world import World
from simulator.logs import Logs
from simulator.management import Management
from simulator.network import Network
from simulator.page import Page
from simulator.patches import Patches
from simulator.people import People
from simulator.protection import Protection
from simulator.scaling import Scaling
from simulator.scenario import Scenario
from simulator.truth import Truth
from simulator.watch import Watch


class Cloud:
    """Every simulated service around one world."""

    def __init__(self, scenario: Scenario, clock: Clock, *, journal: Path | None = None) -> None:
        self.scenario = scenario
        self.world = World(clock, scenario.seed)
        self.operations = Operations(self.world)
        self.faults = Faults(list(scenario.faults))
        self.journal = Journal(journal)
        self.entra = Entra(self)
        self.management = Management(self)
        self.network = Network(self)
        self.protection = Protection(self)
        self.disks = Disks(self)
        self.images = Images(self)
        self.galleries = Galleries(self)
        self.guest = Guest(self)
        self.compute = Compute(self)
        self.patches = Patches(self)
        self.desktop = Desktop(self)
        self.graph = Graph(self)
        self.devices = GraphDevices(self)
        self.cloud_pcs = CloudPcs(self)
        self.cloud_pc_api = CloudPcApi(self)
        self.scaling = Scaling(self)
        self.truth = Truth(self)
        self.watch = Watch(self)
        self.people = People(self)
        self.logs = Logs(self)
        self.insights = Insights(self)
        self.gate = Gate(
            self.world,
            [route for service in self._services() for route in service.routes()],
            identify=self.entra.identify,
            allows=self.management.allows,
            known_subscriptions=[scenario.subscription_id],
            faults=self.faults,
            journal=self.journal,
        )
        for service in (
            *(self.network, self.galleries, self.compute, self.desktop),
            *(self.devices, self.cloud_pcs, self.watch, self.people),
        ):
            service.populate()
        self.app = Starlette(
            routes=[
                *self.entra.web_routes(),
                Mount("/_sim", routes=Control(self).web_routes()),
                *Page(self).web_routes(),
                Mount("/", app=self.gate),
            ]
        )

    def _services(
        self,
    ) -> tuple[
        Operations
        | Management
        | Network
        | Protection
        | Disks
        | Images
        | Galleries
        | Compute
        | Patches
        | Desktop
        | Scaling
        | Logs
        | Graph
        | Insights,
        ...,
    ]:
        return (
            self.operations,
            self.management,
            self.network,
            self.protection,
            self.disks,
            self.images,
            self.galleries,
            self.compute,
            self.patches,
            self.desktop,
            self.scaling,
            self.logs,
            self.graph,
            self.insights,
        )
