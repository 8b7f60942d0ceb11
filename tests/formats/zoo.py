"""Small fitted models of every sort, for the tests of formats and of the compiler.

``ZOO`` is a list of ``(name, build)``; ``build()`` gives an ``Animal``:

- ``model``: fitted;
- ``X``: rows to predict (a float32 array, a DataFrame, or a list of texts), other than training rows where
  that is where the trouble shows;
- ``kind``: "array", "frame" or "text";
- ``expectation``: "onnx" (converts and agrees on X), "near" (labels agree, scores only to about 1 %: float32
  is too narrow for it), "liar" (converts, and disagrees on X: the compiler must find out) or "native" (does
  not convert).
"""

from __future__ import annotations

import numpy as np
from sklearn.calibration import CalibratedClassifierCV
from sklearn.cluster import Birch, KMeans, MiniBatchKMeans
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor, make_column_selector
from sklearn.cross_decomposition import PLSRegression
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis, QuadraticDiscriminantAnalysis
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
    StackingClassifier,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.linear_model import (
    Lasso,
    LinearRegression,
    LogisticRegression,
    Ridge,
    RidgeClassifier,
    SGDClassifier,
)
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import MultiOutputClassifier
from sklearn.naive_bayes import BernoulliNB, GaussianNB
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor, LocalOutlierFactor, NearestCentroid
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    MinMaxScaler,
    OrdinalEncoder,
    PolynomialFeatures,
    QuantileTransformer,
    StandardScaler,
)
from sklearn.svm import SVC, SVR, LinearSVC, OneClassSVM
from sklearn.tree import DecisionTreeClassifier
from zoo_makers import (
    Animal,
    Build,
    accented_train,
    coded_categories,
    column_pipeline,
    hist_with_categories,
    hist_with_gaps,
    knn_with_ties,
    object_matrix,
    oddly_named,
    on_iris,
    on_number_frame,
    on_people,
    on_sugar,
    on_texts,
    partial_sgd,
    string_matrix,
)
from zoo_rows import (
    ACCENTED,
    ASCII_TEXTS,
    BINARY,
    CHATTER,
    CHATTER_MOOD,
    CLASS,
    IRIS,
    LEVEL,
    NAMES,
    TARGETS,
)

ZOO: list[tuple[str, Build]] = [
    ("logistic", on_iris(LogisticRegression)),
    ("logistic, strings", on_iris(LogisticRegression, NAMES[CLASS])),
    ("logistic, bool", on_iris(LogisticRegression, BINARY.astype(bool))),
    ("logistic, float classes", on_iris(LogisticRegression, CLASS.astype(float))),
    ("logistic, -1 and 1", on_iris(LogisticRegression, np.where(BINARY, 1, -1))),
    ("forest", on_iris(lambda: RandomForestClassifier(20, random_state=0))),
    ("forest, strings", on_iris(lambda: RandomForestClassifier(20, random_state=0, n_jobs=2), NAMES[CLASS])),
    ("forest, two targets", on_iris(lambda: RandomForestClassifier(5, random_state=0), TARGETS)),
    ("forest regressor", on_sugar(lambda: RandomForestRegressor(10, random_state=0, max_depth=6))),
    (
        "forest regressor, two targets",
        on_sugar(lambda: RandomForestRegressor(5, max_depth=4), np.stack([LEVEL, -LEVEL], 1)),
    ),
    ("extra trees", on_iris(lambda: ExtraTreesClassifier(20, random_state=0))),
    ("boosting", on_iris(lambda: GradientBoostingClassifier(n_estimators=10))),
    ("boosting regressor", on_sugar(lambda: GradientBoostingRegressor(n_estimators=20))),
    ("hist boosting", on_iris(lambda: HistGradientBoostingClassifier(max_iter=8))),
    ("hist boosting regressor", on_sugar(lambda: HistGradientBoostingRegressor(max_iter=8))),
    ("hist boosting, categories", hist_with_categories),
    ("hist boosting, gaps", hist_with_gaps),
    ("svc, probability", on_iris(lambda: SVC(probability=True, random_state=0))),
    ("svc", on_iris(SVC)),
    ("svc, two classes", on_iris(SVC, BINARY)),
    ("svr", on_sugar(SVR)),
    ("linear svc", on_iris(LinearSVC)),
    ("linear svc, two classes", on_iris(LinearSVC, BINARY)),
    ("linear svc, strings", on_iris(LinearSVC, NAMES[CLASS])),
    ("scaled linear svc", on_iris(lambda: make_pipeline(StandardScaler(), LinearSVC()))),
    ("grid of linear svc", on_iris(lambda: GridSearchCV(LinearSVC(), {"C": [0.5, 1]}, cv=2))),
    ("ridge classifier, two classes", on_iris(RidgeClassifier, BINARY)),
    ("sgd hinge", on_iris(lambda: SGDClassifier(random_state=0))),
    (
        "sgd log loss, partial",
        lambda: Animal(partial_sgd(np.random.default_rng(0).permutation(150)), IRIS[::3], "array", "onnx"),
    ),
    ("sgd log loss, saturated", lambda: Animal(partial_sgd(np.arange(150)), IRIS[::3], "array", "liar")),
    ("knn", on_iris(lambda: KNeighborsClassifier(5))),
    ("knn, ties", knn_with_ties),
    ("knn regressor", on_sugar(KNeighborsRegressor)),
    ("nearest centroid", on_iris(NearestCentroid, expectation="native")),
    ("mlp", on_iris(lambda: MLPClassifier(max_iter=40, random_state=0))),
    ("mlp regressor, two targets", on_sugar(lambda: MLPRegressor(max_iter=10), np.stack([LEVEL, -LEVEL], 1))),
    ("linear", on_sugar(LinearRegression)),
    ("linear, two targets", on_sugar(LinearRegression, np.stack([LEVEL, -LEVEL], 1))),
    ("lasso", on_sugar(Lasso)),
    ("gaussian process", on_sugar(lambda: GaussianProcessRegressor(alpha=1.0))),
    ("partial least squares", on_sugar(PLSRegression)),
    (
        "logged target",
        on_sugar(
            lambda: TransformedTargetRegressor(Ridge(), func=np.log1p, inverse_func=np.expm1),
            expectation="native",
        ),
    ),
    ("voting regressor", on_sugar(lambda: VotingRegressor([("a", Ridge()), ("b", Lasso())]))),
    (
        "isolation forest",
        lambda: Animal(IsolationForest(n_estimators=5, random_state=0).fit(IRIS), IRIS[::3], "array", "onnx"),
    ),
    ("one class svm", lambda: Animal(OneClassSVM().fit(IRIS), IRIS[::3] + 0.2, "array", "onnx")),
    (
        "local outlier factor",
        lambda: Animal(
            LocalOutlierFactor(n_neighbors=40, novelty=True).fit(IRIS), IRIS[::3] + 0.5, "array", "near"
        ),
    ),
    ("kmeans", lambda: Animal(KMeans(3, n_init=1, random_state=0).fit(IRIS), IRIS[::3], "array", "onnx")),
    (
        "minibatch kmeans",
        lambda: Animal(MiniBatchKMeans(3, n_init=1, random_state=0).fit(IRIS), IRIS[::3], "array", "onnx"),
    ),
    ("birch", lambda: Animal(Birch(n_clusters=3).fit(IRIS), IRIS[::3], "array", "native")),
    (
        "gaussian mixture",
        lambda: Animal(GaussianMixture(3, random_state=0).fit(IRIS), IRIS[::3], "array", "onnx"),
    ),
    ("pca", lambda: Animal(PCA(2).fit(IRIS), IRIS[::3], "array", "onnx")),
    (
        "scaler and pca",
        lambda: Animal(make_pipeline(StandardScaler(), PCA(2)).fit(IRIS), IRIS[::3], "array", "onnx"),
    ),
    ("gaussian naive bayes", on_iris(GaussianNB)),
    ("bernoulli naive bayes", on_iris(BernoulliNB)),
    ("lda", on_iris(LinearDiscriminantAnalysis)),
    ("qda", on_iris(QuadraticDiscriminantAnalysis)),
    ("tree", on_iris(lambda: DecisionTreeClassifier(random_state=0))),
    (
        "tree, two targets",
        on_iris(lambda: DecisionTreeClassifier(random_state=0), np.stack([BINARY, CLASS == 1], 1)),
    ),
    ("tree, two uneven targets", on_iris(lambda: DecisionTreeClassifier(random_state=0), TARGETS, "native")),
    ("ada boost", on_iris(lambda: AdaBoostClassifier(n_estimators=5, random_state=0))),
    ("bagging", on_iris(lambda: BaggingClassifier(n_estimators=4, random_state=0, max_features=0.6))),
    (
        "calibrated forest",
        on_iris(lambda: CalibratedClassifierCV(RandomForestClassifier(5, random_state=0), cv=2)),
    ),
    (
        "stacking",
        on_iris(
            lambda: StackingClassifier(
                [("a", LogisticRegression()), ("b", DecisionTreeClassifier(max_depth=3))], cv=2
            )
        ),
    ),
    (
        "soft voting",
        on_iris(lambda: VotingClassifier([("a", LogisticRegression()), ("b", GaussianNB())], voting="soft")),
    ),
    ("hard voting", on_iris(lambda: VotingClassifier([("a", LogisticRegression()), ("b", GaussianNB())]))),
    ("several logistics", on_iris(lambda: MultiOutputClassifier(LogisticRegression()), TARGETS)),
    ("one against rest", on_iris(lambda: OneVsRestClassifier(LogisticRegression()))),
    (
        "grid of logistics",
        on_iris(lambda: GridSearchCV(LogisticRegression(), {"C": [0.5, 1]}, cv=2), NAMES[CLASS]),
    ),
    ("scaler and logistic", on_iris(lambda: make_pipeline(StandardScaler(), LogisticRegression()))),
    ("min max and knn", on_iris(lambda: make_pipeline(MinMaxScaler(), KNeighborsClassifier(4)))),
    (
        "polynomial and ridge",
        on_sugar(lambda: make_pipeline(PolynomialFeatures(2), StandardScaler(), Ridge())),
    ),
    (
        "quantiles and logistic",
        on_iris(lambda: make_pipeline(QuantileTransformer(n_quantiles=20), LogisticRegression())),
    ),
    (
        "bins and logistic",
        on_iris(
            lambda: make_pipeline(
                KBinsDiscretizer(4, quantile_method="averaged_inverted_cdf"), LogisticRegression()
            )
        ),
    ),
    (
        "function and logistic",
        on_iris(
            lambda: make_pipeline(FunctionTransformer(np.log1p), LogisticRegression()), expectation="native"
        ),
    ),
    ("frame of numbers, logistic", on_number_frame(LogisticRegression)),
    (
        "frame of numbers, by selector",
        on_number_frame(
            lambda: make_pipeline(
                ColumnTransformer(
                    [
                        ("a", StandardScaler(), ["petal w", "sepal l"]),
                        ("b", MinMaxScaler(), make_column_selector("petal l")),
                    ],
                    remainder="passthrough",
                ),
                LogisticRegression(),
            )
        ),
    ),
    ("frame of codes", coded_categories),
    ("odd names", oddly_named),
    ("objects without names", object_matrix),
    ("strings without names", string_matrix),
    ("people, logistic", on_people(lambda: column_pipeline(LogisticRegression()))),
    (
        "people without gaps, logistic",
        on_people(lambda: column_pipeline(LogisticRegression(), city_gaps=False), gaps=False),
    ),
    ("people, gaps in categories", on_people(lambda: column_pipeline(LogisticRegression(), city_gaps=False))),
    ("people, forest", on_people(lambda: column_pipeline(RandomForestClassifier(20, random_state=0)))),
    (
        "people, grid",
        on_people(
            lambda: GridSearchCV(
                column_pipeline(LogisticRegression()), {"logisticregression__C": [1, 2]}, cv=2
            )
        ),
    ),
    (
        "people, ordinal hist boosting",
        on_people(
            lambda: make_pipeline(
                ColumnTransformer(
                    [
                        (
                            "s",
                            OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1),
                            ["city", "plan"],
                        )
                    ]
                ),
                HistGradientBoostingClassifier(max_iter=5),
            ),
            "native",
        ),
    ),
    (
        "text, plain tokens",
        on_texts(
            lambda: make_pipeline(TfidfVectorizer(token_pattern="[a-zA-Z0-9]+"), LogisticRegression()),
            ASCII_TEXTS,
        ),
    ),
    ("text, ascii", on_texts(lambda: make_pipeline(TfidfVectorizer(), LogisticRegression()), ASCII_TEXTS)),
    (
        "text, counts",
        on_texts(
            lambda: make_pipeline(CountVectorizer(token_pattern="[a-zA-Z0-9]+"), LogisticRegression()),
            ASCII_TEXTS,
        ),
    ),
    (
        "text, accents",
        on_texts(
            lambda: make_pipeline(TfidfVectorizer(), LogisticRegression()), ACCENTED, "onnx", accented_train
        ),
    ),
    (
        "text, word pairs",
        on_texts(
            lambda: make_pipeline(TfidfVectorizer(ngram_range=(1, 2)), LogisticRegression()),
            CHATTER,
            "onnx",
            (CHATTER, CHATTER_MOOD),
        ),
    ),
    (
        "text, word pairs of plain tokens",
        on_texts(
            lambda: make_pipeline(
                TfidfVectorizer(ngram_range=(1, 2), token_pattern="[a-zA-Z]+"), LogisticRegression()
            ),
            ASCII_TEXTS,
        ),
    ),
    (
        "text, characters",
        on_texts(
            lambda: make_pipeline(TfidfVectorizer(analyzer="char", ngram_range=(1, 3)), LogisticRegression()),
            ["bad   film", "good    story", " dull\t\tplot "],
            "liar",
        ),
    ),
    (
        "text, characters in words",
        on_texts(
            lambda: make_pipeline(
                TfidfVectorizer(analyzer="char_wb", ngram_range=(1, 3)), LogisticRegression()
            ),
            ASCII_TEXTS,
            "native",
        ),
    ),
    (
        "text, two views",
        on_texts(
            lambda: make_pipeline(
                FeatureUnion(
                    [
                        ("w", CountVectorizer(token_pattern="[a-z]+")),
                        ("t", TfidfVectorizer(token_pattern="[a-z]+")),
                    ]
                ),
                TruncatedSVD(4, random_state=0),
                LogisticRegression(),
            ),
            ASCII_TEXTS,
        ),
    ),
]
