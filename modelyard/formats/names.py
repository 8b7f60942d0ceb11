"""What is thought of the names that a pickle or a skops file asks to import.

A list can be incomplete in both directions, which is why it decides nothing: files are opened in a
sandboxed child whatever these tables say. They exist to tell a person what a file asks for.
"""

from __future__ import annotations

_KNOWN_PACKAGES = ("sklearn", "numpy", "scipy", "pandas", "xgboost", "lightgbm", "catboost", "imblearn")
_KNOWN = frozenset(
    {
        "_codecs.encode",
        "collections.Counter",
        "collections.OrderedDict",
        "collections.defaultdict",
        "collections.deque",
        "copyreg.__newobj__",
        "copyreg.__newobj_ex__",
        "copyreg._reconstructor",
        "copy_reg._reconstructor",
        "datetime.date",
        "datetime.datetime",
        "datetime.timedelta",
        "decimal.Decimal",
        "fractions.Fraction",
        "functools.partial",  # harmless by itself; what it would call is listed beside it
        "joblib.numpy_pickle.NumpyArrayWrapper",
        "uuid.UUID",
    }
)
_BUILTIN_NAMES = "bool bytearray bytes complex dict float frozenset int list object range set slice str tuple"
_PLAIN_BUILTINS = frozenset(_BUILTIN_NAMES.split())
_MODULE_NAMES = """
os posix nt posixpath subprocess _posixsubprocess sys socket _socket ssl shutil runpy importlib _imp imp
ctypes _ctypes cffi code codeop pty commands webbrowser multiprocessing _multiprocessing threading _thread
asyncio signal pkgutil pip pdb bdb timeit profile cProfile trace http urllib requests httpx aiohttp ftplib
telnetlib smtplib poplib imaplib xmlrpc tempfile pathlib io _io linecache distutils setuptools marshal pickle
_pickle cPickle shelve types gc inspect platform site sysconfig test unittest doctest venv zipimport
ensurepip idlelib lib2to3 mmap fcntl resource pwd grp logging paramiko torch tensorflow keras nltk concurrent
faulthandler atexit pydoc glob fileinput dbm sqlite3 _sqlite3 zipfile tarfile curses tkinter turtle
"""
_DANGEROUS_MODULES = frozenset(_MODULE_NAMES.split())
_DANGEROUS = frozenset(
    {
        "operator.attrgetter",
        "operator.methodcaller",
        "joblib.load",
        "numpy.load",
        "numpy.fromfile",
        "numpy.memmap",
        "numpy.save",
        "numpy.savetxt",
        "numpy.loadtxt",
        "numpy.genfromtxt",
        "pandas.read_pickle",
        "pandas.eval",
        "sklearn.datasets.fetch_openml",
        "scipy.io.loadmat",
    }
)
_DANGEROUS_PARTS = (
    "numpy.testing",
    "numpy.f2py",
    "numpy.distutils",
    "numpy.ctypeslib",
    "pandas.io",
    "pandas.core.computation",
)
_CLASS_BUILTINS = frozenset({"classmethod", "property", "staticmethod", "super", "type"})
"""What cloudpickle builds classes from; code of the file's own, as its functions are."""
_CODE_PACKAGES = ("cloudpickle", "dill")

SKOPS_REVIEWED = frozenset(
    {
        "numpy.dtype",
        "sklearn.calibration._CalibratedClassifier",
        "sklearn.calibration._SigmoidCalibration",
        "sklearn.compose._column_transformer.make_column_selector",
        "sklearn.gaussian_process.kernels.CompoundKernel",
        "sklearn.gaussian_process.kernels.ConstantKernel",
        "sklearn.gaussian_process.kernels.DotProduct",
        "sklearn.gaussian_process.kernels.Matern",
        "sklearn.gaussian_process.kernels.Product",
        "sklearn.gaussian_process.kernels.RBF",
        "sklearn.gaussian_process.kernels.RationalQuadratic",
        "sklearn.gaussian_process.kernels.Sum",
        "sklearn.gaussian_process.kernels.WhiteKernel",
        "sklearn.metrics._scorer._PassthroughScorer",
        "sklearn.model_selection._split.KFold",
        "sklearn.model_selection._split.StratifiedKFold",
        "sklearn.utils._bunch.Bunch",
        "sklearn._loss._loss.CyAbsoluteError",
        "sklearn._loss._loss.CyExponentialLoss",
        "sklearn._loss._loss.CyHalfBinomialLoss",
        "sklearn._loss._loss.CyHalfGammaLoss",
        "sklearn._loss._loss.CyHalfMultinomialLoss",
        "sklearn._loss._loss.CyHalfPoissonLoss",
        "sklearn._loss._loss.CyHalfSquaredError",
        "sklearn._loss._loss.CyHuberLoss",
        "sklearn._loss._loss.CyPinballLoss",
        "sklearn._loss.link.IdentityLink",
        "sklearn._loss.link.Interval",
        "sklearn._loss.link.LogLink",
        "sklearn._loss.link.LogitLink",
        "sklearn._loss.link.MultinomialLogit",
        "sklearn._loss.loss.HalfBinomialLoss",
        "sklearn._loss.loss.HalfMultinomialLoss",
        "sklearn._loss.loss.HalfSquaredError",
        "sklearn.ensemble._hist_gradient_boosting.binning._BinMapper",
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "sklearn.linear_model._sgd_fast.Hinge",
        "sklearn.linear_model._sgd_fast.Log",
        "sklearn.metrics._dist_metrics.DistanceMetric",
        "sklearn.metrics._dist_metrics.EuclideanDistance",
        "sklearn.metrics._dist_metrics.EuclideanDistance64",
        "sklearn.metrics._dist_metrics.ManhattanDistance64",
        "sklearn.metrics._dist_metrics.MinkowskiDistance64",
        "sklearn.neighbors._ball_tree.BallTree",
        "sklearn.neighbors._ball_tree.BallTree64",
        "sklearn.neighbors._kd_tree.KDTree",
        "sklearn.neighbors._kd_tree.KDTree64",
        "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
        "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
        "sklearn.preprocessing._label.LabelBinarizer",
        "sklearn.tree._tree.Tree",
    }
)
"""Types that skops does not trust by itself, but that were reviewed: they hold numbers, nothing else."""


def sort_of(name: str) -> str:
    """Sort a name: "dangerous", "code" (brings Python code of its own), "known" or "unknown".

    >>> sort_of("os.system"), sort_of("sklearn.svm._classes.SVC"), sort_of("mine.Model")
    ('dangerous', 'known', 'unknown')
    """
    module, _, attribute = name.rpartition(".")
    package = module.split(".")[0]
    if package in _CODE_PACKAGES:
        return "code"
    if name in _KNOWN:
        return "known"
    if package in ("builtins", "__builtin__"):
        if module != package or attribute not in _PLAIN_BUILTINS | _CLASS_BUILTINS:
            return "dangerous"
        return "known" if attribute in _PLAIN_BUILTINS else "code"
    if package in _DANGEROUS_MODULES or name in _DANGEROUS or name.startswith(_DANGEROUS_PARTS):
        return "dangerous"
    return "known" if package in _KNOWN_PACKAGES else "unknown"
