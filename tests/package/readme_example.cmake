# Fails unless the first C++ block of README is FILE, word for word.
file(READ ${README} readme)
file(READ ${FILE} example)
string(FIND "${readme}" "```cpp\n${example}```" position)
if(position EQUAL -1)
  message(FATAL_ERROR "the example in ${README} is not ${FILE}")
endif()
