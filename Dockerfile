# The official image of Airflow with xclaim from this checkout: `docker compose --profile airflow up --build`, or
#
#     docker build --build-arg AIRFLOW_IMAGE=apache/airflow:3.2.2 --tag airflow-with-xclaim .
#
# The image is named by tag, not by digest, for the reason in docker-compose.yml.
ARG AIRFLOW_IMAGE=apache/airflow:3.3.2

FROM ${AIRFLOW_IMAGE}

# What .dockerignore lets in, which is what the wheel is made of.
COPY --chown=50000:0 . /opt/xclaim

# Airflow is named so that pip leaves its version alone, and the rest stays at the versions that this Airflow was
# released with: the image lists them in its home. All but SQLAlchemy, which may be older there than xclaim needs.
RUN grep --ignore-case --invert-match '^sqlalchemy==' "${HOME}/constraints.txt" >/tmp/constraints.txt \
    && pip install --no-cache-dir --constraint /tmp/constraints.txt \
        "apache-airflow==${AIRFLOW_VERSION}" '/opt/xclaim[messaging]' \
    && rm /tmp/constraints.txt \
    && pip check

# The image's own user `airflow`, by number: whoever runs it can see that it is not root.
USER 50000
