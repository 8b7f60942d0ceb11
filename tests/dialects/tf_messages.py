"""TensorFlow Serving's messages as a client has them: real protobuf classes, in a pool of their own.

Written from tensorflow_serving/apis/*.proto, tensorflow/core/framework/{tensor,tensor_shape,types}.proto and
tensorflow/core/example/{example,feature}.proto.
"""

from proto_messages import load_messages

PROTO = """
message Int64Value { int64 value = 1 }
message Any { string type_url = 1; bytes value = 2 }
message Dim { int64 size = 1; string name = 2 }
message TensorShapeProto { repeated Dim dim = 2; bool unknown_rank = 3 }
message TensorProto { int32 dtype = 1; TensorShapeProto tensor_shape = 2; int32 version_number = 3;
  bytes tensor_content = 4; packed int32 half_val = 13;
  packed float float_val = 5; packed double double_val = 6;
  packed int32 int_val = 7; repeated bytes string_val = 8; packed int64 int64_val = 10;
  packed bool bool_val = 11; packed uint32 uint32_val = 16; packed uint64 uint64_val = 17 }
message ModelSpec {
  string name = 1; Int64Value version = 2; string version_label = 4; string signature_name = 3 }
message PredictRequest {
  ModelSpec model_spec = 1; map TensorProto inputs = 2; repeated string output_filter = 3 }
message PredictResponse { ModelSpec model_spec = 2; map TensorProto outputs = 1 }
message BytesList { repeated bytes value = 1 }
message FloatList { packed float value = 1 }
message Int64List { packed int64 value = 1 }
message Feature { BytesList bytes_list = 1; FloatList float_list = 2; Int64List int64_list = 3 }
message Features { map Feature feature = 1 }
message Example { Features features = 1 }
message ExampleList { repeated Example examples = 1 }
message ExampleListWithContext { repeated Example examples = 1; Example context = 2 }
message Input { ExampleList example_list = 1; ExampleListWithContext example_list_with_context = 2 }
message ClassificationRequest { ModelSpec model_spec = 1; Input input = 2 }
message RegressionRequest { ModelSpec model_spec = 1; Input input = 2 }
message Class { string label = 1; float score = 2 }
message Classifications { repeated Class classes = 1 }
message ClassificationResult { repeated Classifications classifications = 1 }
message ClassificationResponse { ClassificationResult result = 1; ModelSpec model_spec = 2 }
message Regression { float value = 1 }
message RegressionResult { repeated Regression regressions = 1 }
message RegressionResponse { RegressionResult result = 1; ModelSpec model_spec = 2 }
message InferenceTask { ModelSpec model_spec = 1; string method_name = 2 }
message MultiInferenceRequest { repeated InferenceTask tasks = 1; Input input = 2 }
message InferenceResult { ModelSpec model_spec = 1; ClassificationResult classification_result = 2;
  RegressionResult regression_result = 3 }
message MultiInferenceResponse { repeated InferenceResult results = 1 }
message GetModelMetadataRequest { ModelSpec model_spec = 1; repeated string metadata_field = 2 }
message GetModelMetadataResponse { ModelSpec model_spec = 1; map Any metadata = 2 }
message TensorInfo { string name = 1; int32 dtype = 2; TensorShapeProto tensor_shape = 3 }
message SignatureDef { map TensorInfo inputs = 1; map TensorInfo outputs = 2; string method_name = 3 }
message SignatureDefMap { map SignatureDef signature_def = 1 }
message GetModelStatusRequest { ModelSpec model_spec = 1 }
message StatusProto { int32 error_code = 1; string error_message = 2 }
message ModelVersionStatus { int64 version = 1; int32 state = 2; StatusProto status = 3 }
message GetModelStatusResponse { repeated ModelVersionStatus model_version_status = 1 }
message ReloadConfigRequest { bytes config = 1 }
message ReloadConfigResponse { StatusProto status = 1 }
"""
PACKAGE = "tf_client"
MESSAGES = load_messages(PROTO, PACKAGE)


def __getattr__(name):
    return MESSAGES[name]
