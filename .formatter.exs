[
  inputs: ["{mix,.formatter}.exs", "{lib,test,bench,examples,installer}/**/*.{ex,exs}"]
]
