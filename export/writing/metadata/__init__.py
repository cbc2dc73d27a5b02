"""tflite-support's metadata in our files: what an app's generated code and task libraries read.

tflite-support composes the metadata in a child process (`child.py`), because its import loads TensorFlow for seconds. The
composed metadata is put into the file here: tflite-support's own populator writes the whole file anew, which moves the weights
off the 16-byte boundaries that runtimes rely on.
"""
