"""Fitted models whose conversion is known: honest ones, and the silent liars."""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_diabetes, load_iris
from sklearn.ensemble import (
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, SGDClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import SVC, SVR

IRIS, KIND = load_iris(return_X_y=True)
NAMES = np.array(["setosa", "versicolor", "virginica"])[KIND]
DIABETES, COURSE = load_diabetes(return_X_y=True)
_RNG = np.random.default_rng(7)


def people(final):
    count = 400
    table = pd.DataFrame(
        {
            "age": _RNG.integers(18, 90, count).astype(float),
            "income": _RNG.lognormal(10, 1, count),
            "city": _RNG.choice(["Köln", "Oslo", "Łódź", "Paris"], count),
            "plan": _RNG.choice(["free", "pro"], count),
        }
    )
    target = ((table.age > 50) ^ (table.city == "Oslo") | (table.income > 60000)).astype(int)
    table.loc[::17, "age"] = np.nan
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    columns = ColumnTransformer(
        [
            ("numbers", numbers, ["age", "income"]),
            ("words", OneHotEncoder(handle_unknown="ignore"), ["city", "plan"]),
        ]
    )
    return make_pipeline(columns, final).fit(table, target)


_GOOD = [
    "good film",
    "great story",
    "I liked it a lot",
    "not bad at all",
    "very good day",
    "a great great plot",
]
_BAD = ["bad film", "awful story", "I don't like it", "not good at all", "a very bad day", "this is a waste"]
_WORLD = [
    "très bon café",
    "l'été était très beau",
    "mauvais café",
    "l'hiver était très mauvais",
    "c'est bon",
    "n'est pas bon",
]


def text(vectorizer, texts=None, mood=None):
    texts = texts or (_GOOD + _BAD) * 3
    mood = mood or ([1] * 6 + [0] * 6) * 3
    return make_pipeline(vectorizer, LogisticRegression(C=50)).fit(texts, mood)


def codes():
    x = np.stack([_RNG.integers(0, 12, 600), _RNG.integers(0, 5, 600), _RNG.normal(size=600)], axis=1)
    y = np.isin(x[:, 0], [1, 4, 7, 10]) ^ (x[:, 1] == 2) ^ (x[:, 2] > 0.5)
    return HistGradientBoostingClassifier(max_iter=30, categorical_features=[0, 1]).fit(x, y.astype(int))


def saturated():
    model = SGDClassifier(loss="log_loss", random_state=0)
    for _ in range(2):
        model.partial_fit(IRIS * 40, KIND, classes=[0, 1, 2])
    return model


HONEST = {
    "logistic regression": lambda: LogisticRegression(max_iter=500).fit(IRIS, NAMES),
    "linear regression": lambda: LinearRegression().fit(DIABETES, COURSE),
    "forest of 100": lambda: RandomForestClassifier(100, random_state=0).fit(IRIS, NAMES),
    "forest of 10": lambda: RandomForestClassifier(10, random_state=1).fit(IRIS, KIND),
    "forest regressor": lambda: RandomForestRegressor(30, random_state=0).fit(DIABETES, COURSE),
    "boosting": lambda: GradientBoostingClassifier(n_estimators=30, random_state=0).fit(IRIS, KIND),
    "boosting regressor": lambda: GradientBoostingRegressor(n_estimators=30).fit(DIABETES, COURSE),
    "hist boosting": lambda: HistGradientBoostingClassifier(max_iter=20).fit(IRIS, KIND),
    "hist boosting regressor": lambda: HistGradientBoostingRegressor(max_iter=20).fit(DIABETES, COURSE),
    "support vectors": lambda: SVC().fit(IRIS, KIND),
    "support vector regressor": lambda: SVR().fit(DIABETES, COURSE),
    "scaler and logistic": lambda: make_pipeline(StandardScaler(), LogisticRegression()).fit(IRIS, KIND),
    "people, logistic": lambda: people(LogisticRegression()),
    "people, forest of 100": lambda: people(RandomForestClassifier(100, random_state=0)),
    "text of plain tokens": lambda: text(TfidfVectorizer(token_pattern="[a-zA-Z0-9]+")),
}

LIARS = {
    "hist boosting with categories": codes,
    "text with accents": lambda: text(TfidfVectorizer(), _WORLD * 3, [1, 1, 0, 0, 1, 0] * 3),
    "text with apostrophes": lambda: text(TfidfVectorizer()),
    "text of word pairs": lambda: text(TfidfVectorizer(ngram_range=(1, 2))),
    "neighbours that tie": lambda: KNeighborsClassifier(10).fit(IRIS, KIND),
    "saturated scores": saturated,
}
