# docker build -t shadowprint .    The image runs `python launch.py COMMAND ...`; mount the runs and the data.
FROM python:3.12-slim
WORKDIR /shadowprint
COPY pyproject.toml README.md LICENSE launch.py ./
COPY attack attack
COPY configs configs
COPY shadow shadow
RUN pip install --no-cache-dir --editable ".[dicom,nifti,tensorboard]"
ENTRYPOINT ["python", "launch.py"]
CMD ["help"]
